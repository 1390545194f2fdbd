// Package layotto has what Layotto adds to proxy-wasm, for modules that are functions: a buffer for their id, and two
// calls of the host.
package layotto

import (
	"fmt"
	"unsafe"
)

//go:wasmimport env proxy_set_buffer_bytes
func setBufferBytes(buffer, start, replaced int32, data unsafe.Pointer, length int32) int32

//go:wasmimport env proxy_get_state
func getState(
	store unsafe.Pointer, storeLength int32,
	key unsafe.Pointer, keyLength int32,
	value, valueLength unsafe.Pointer,
) int32

//go:wasmimport env proxy_invoke_service
func invokeService(
	id unsafe.Pointer, idLength int32,
	method unsafe.Pointer, methodLength int32,
	body unsafe.Pointer, bodyLength int32,
	answer, answerLength unsafe.Pointer,
) int32

// Where a function that is asked for its id writes it.
const callData = 8

// SetID says the id, in the export proxy_get_id.
func SetID(id string) {
	setBufferBytes(callData, 0, 1<<31-1, pointer(id), int32(len(id)))
}

// GetState is the value of a key, empty where there is none.
func GetState(store, key string) (string, error) {
	var at, length uint32
	status := getState(
		pointer(store), int32(len(store)), pointer(key), int32(len(key)),
		unsafe.Pointer(&at), unsafe.Pointer(&length),
	)
	return taken(status, at, length)
}

// InvokeService asks another function, or an application.
func InvokeService(id, method, body string) (string, error) {
	var at, length uint32
	status := invokeService(
		pointer(id), int32(len(id)), pointer(method), int32(len(method)), pointer(body), int32(len(body)),
		unsafe.Pointer(&at), unsafe.Pointer(&length),
	)
	return taken(status, at, length)
}

func pointer(text string) unsafe.Pointer {
	return unsafe.Pointer(unsafe.StringData(text))
}

// The host has the SDK allocate what it writes, which is copied before anything can collect it.
func taken(status int32, at, length uint32) (string, error) {
	if status != 0 {
		return "", fmt.Errorf("the host says %d", status)
	}
	if length == 0 {
		return "", nil
	}
	return string(unsafe.Slice((*byte)(unsafe.Pointer(uintptr(at))), length)), nil
}
