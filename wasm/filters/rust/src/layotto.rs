//! What Layotto adds to proxy-wasm, for modules that are functions: a buffer for their id, and two calls of the host.

use proxy_wasm::types::Bytes;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        replaced: usize,
        data: *const u8,
        length: usize,
    ) -> u32;

    fn proxy_get_state(
        store: *const u8,
        store_length: usize,
        key: *const u8,
        key_length: usize,
        value: *mut *mut u8,
        value_length: *mut usize,
    ) -> u32;

    fn proxy_invoke_service(
        id: *const u8,
        id_length: usize,
        method: *const u8,
        method_length: usize,
        body: *const u8,
        body_length: usize,
        answer: *mut *mut u8,
        answer_length: *mut usize,
    ) -> u32;
}

/// Where a function that is asked for its id writes it.
const CALL_DATA: u32 = 8;

/// Says the id, in the export `proxy_get_id`.
pub fn set_id(id: &str) {
    // SAFETY: the host reads so many bytes, which are there.
    unsafe { proxy_set_buffer_bytes(CALL_DATA, 0, usize::MAX, id.as_ptr(), id.len()) };
}

/// The value of a key; empty where there is none. An error is the host's number for it.
pub fn get_state(store: &str, key: &str) -> Result<Bytes, u32> {
    let (mut at, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: the host reads what is there, and writes a place and a length to two variables.
    let status = unsafe {
        proxy_get_state(store.as_ptr(), store.len(), key.as_ptr(), key.len(), &mut at, &mut length)
    };
    taken(status, at, length)
}

/// Asks another function, or an application.
pub fn invoke_service(id: &str, method: &str, body: &[u8]) -> Result<Bytes, u32> {
    let (mut at, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: as above.
    let status = unsafe {
        proxy_invoke_service(
            id.as_ptr(),
            id.len(),
            method.as_ptr(),
            method.len(),
            body.as_ptr(),
            body.len(),
            &mut at,
            &mut length,
        )
    };
    taken(status, at, length)
}

fn taken(status: u32, at: *mut u8, length: usize) -> Result<Bytes, u32> {
    match (status, at.is_null()) {
        (0, true) => Ok(Bytes::new()),
        // SAFETY: the host has allocated it through the SDK, as a vector of just this length, and left it to us.
        (0, false) => Ok(unsafe { Vec::from_raw_parts(at, length, length) }),
        (status, _) => Err(status),
    }
}
