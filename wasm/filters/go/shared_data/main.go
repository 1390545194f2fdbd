// Numbers requests over all workers: a counter in shared data, raised by compare and set.
package main

import (
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"outrigger/filters/filter"
)

func main() {}

func init() {
	proxywasm.SetHttpContext(func(uint32) types.HttpContext { return &sharedData{} })
}

type sharedData struct{ types.DefaultHttpContext }

func next() (uint64, error) {
	for {
		value, cas, err := proxywasm.GetSharedData("count")
		if err != nil && !errors.Is(err, types.ErrorStatusNotFound) {
			return 0, err
		}
		var bytes [8]byte
		copy(bytes[:], value)
		count := binary.LittleEndian.Uint64(bytes[:]) + 1
		binary.LittleEndian.PutUint64(bytes[:], count)
		// On a mismatch another worker was faster.
		if err := proxywasm.SetSharedData("count", bytes[:], cas); !errors.Is(err, types.ErrorStatusCasMismatch) {
			return count, err
		}
	}
}

func (*sharedData) OnHttpResponseHeaders(int, bool) types.Action {
	count, err := next()
	filter.Check(err)
	if err == nil {
		filter.Check(proxywasm.ReplaceHttpResponseHeader("x-count", strconv.FormatUint(count, 10)))
	}
	return types.ActionContinue
}
