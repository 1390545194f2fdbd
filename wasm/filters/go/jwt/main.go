// Lets in who carries a valid token (JWT, HS256, not expired, not revoked). The configuration is `CLUSTER SECRET`:
// whom to ask about revoked tokens, and what they are signed with.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext {
		cluster, secret, _ := strings.Cut(configuration, " ")
		return &jwt{cluster: cluster, secret: []byte(secret)}
	})
}

type jwt struct {
	types.DefaultHttpContext
	cluster string
	secret  []byte
	claims  claims
}

type claims struct {
	Subject string `json:"sub"`
	Expires int64  `json:"exp"`
	ID      string `json:"jti"`
}

// check reads the claims of a token that is signed with secret and holds now.
func check(token string, secret []byte, now time.Time) (claims, error) {
	var found claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return found, errors.New("not a token")
	}
	var head struct {
		Algorithm string `json:"alg"`
	}
	if err := decode(parts[0], &head); err != nil {
		return found, err
	}
	if head.Algorithm != "HS256" {
		return found, errors.New("signed in another way")
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		return found, errors.New("wrong signature")
	}
	if err := decode(parts[1], &found); err != nil {
		return found, err
	}
	if found.Expires <= now.Unix() {
		return found, errors.New("expired")
	}
	return found, nil
}

func decode(part string, into any) error {
	bytes, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || json.Unmarshal(bytes, into) != nil {
		return errors.New("not a token")
	}
	return nil
}

func refuse(why string) types.Action {
	challenge := fmt.Sprintf("Bearer error=\"invalid_token\", error_description=%q", why)
	return filter.Respond(401, [][2]string{{"www-authenticate", challenge}}, why)
}

func (j *jwt) OnHttpRequestHeaders(int, bool) types.Action {
	token, carried := strings.CutPrefix(filter.RequestHeader("authorization"), "Bearer ")
	if !carried {
		return refuse("no token")
	}
	found, err := check(token, j.secret, time.Now())
	if err != nil {
		return refuse(err.Error())
	}
	j.claims = found
	if filter.Ask(j.cluster, "/revoked/"+found.ID, nil, 10_000, j.answered) != nil {
		return refuse("nobody to ask")
	}
	return types.ActionPause
}

func (j *jwt) answered(status, _ string) {
	switch status {
	case "404":
		filter.Check(proxywasm.ReplaceHttpRequestHeader("x-subject", j.claims.Subject))
		filter.Check(proxywasm.RemoveHttpRequestHeader("authorization"))
		filter.Check(proxywasm.ResumeHttpRequest())
	case "200":
		refuse("revoked")
	default:
		refuse("no answer about it")
	}
}
