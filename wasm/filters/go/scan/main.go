// Refuses a request whose body holds a word, even over two pieces of it. The configuration is the word.
package main

import (
	"bytes"
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	filter.EachRequest(func(configuration string) types.HttpContext { return &scan{word: []byte(configuration)} })
}

type scan struct {
	types.DefaultHttpContext
	word []byte
	// How much of the body has been looked at.
	seen int
}

// OnHttpRequestBody is told the size of all of the body so far while its answer is "pause".
func (s *scan) OnHttpRequestBody(size int, end bool) types.Action {
	start := max(s.seen-len(s.word), 0)
	if size > start {
		piece, err := proxywasm.GetHttpRequestBody(start, size-start)
		filter.Check(err)
		if bytes.Contains(piece, s.word) {
			found := [][2]string{{"x-found-after", strconv.Itoa(size)}}
			return filter.Respond(403, found, "refused\n")
		}
	}
	s.seen = size
	if end {
		return types.ActionContinue
	}
	return types.ActionPause
}
