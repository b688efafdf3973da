//! The C side of moxie_text.h: its structs, and the guard that keeps panics inside.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use crate::error::{Failure, Outcome, Status};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Str {
    pub data: *const u8,
    pub size: usize,
}

#[repr(C)]
pub struct Buffer {
    pub data: *mut u8,
    pub size: usize,
}

#[repr(C)]
pub struct EncodingOut {
    pub ids: *mut i32,
    pub offsets: *mut i64,
    pub count: usize,
}

#[repr(C)]
pub struct RenderedOut {
    pub text: Buffer,
    pub generated: *mut i64,
    pub ranges: usize,
}

#[repr(C)]
pub struct VocabIn {
    pub model: Str,
    pub pre: Str,
    pub tokens: *const Str,
    pub token_count: usize,
    pub scores: *const f32,
    pub types: *const i32,
    pub merges: *const Str,
    pub merge_count: usize,
    pub charsmap: Str,
    pub bos: i64,
    pub eos: i64,
    pub unk: i64,
    pub add_bos: i32,
    pub add_eos: i32,
    pub add_space_prefix: i32,
    pub remove_extra_whitespaces: i32,
}

impl Str {
    /// # Safety
    /// `data` must point to `size` bytes that outlive the result.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        unsafe { slice(self.data, self.size) }
    }

    /// # Safety
    /// As `bytes`.
    pub unsafe fn text<'a>(self, what: impl std::fmt::Display) -> Outcome<&'a str> {
        std::str::from_utf8(unsafe { self.bytes() }).map_err(|e| {
            Failure::invalid(format!("{what} is not UTF-8 at byte {}", e.valid_up_to()))
        })
    }
}

/// # Safety
/// `data` must point to `size` values that outlive the result, or `size` must be 0.
pub unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 || data.is_null() {
        return &[];
    }
    unsafe { std::slice::from_raw_parts(data, size) }
}

/// Gives a vector to C as pointer and length; `reclaim` takes it back.
pub fn release<T>(values: Vec<T>) -> (*mut T, usize) {
    let boxed = values.into_boxed_slice();
    let size = boxed.len();
    (Box::into_raw(boxed) as *mut T, size)
}

/// # Safety
/// `data` and `size` must come from `release`, once.
pub unsafe fn reclaim<T>(data: *mut T, size: usize) {
    if !data.is_null() {
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)) });
    }
}

impl From<String> for Buffer {
    fn from(text: String) -> Self {
        let (data, size) = release(text.into_bytes());
        Buffer { data, size }
    }
}

fn panic_message(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panic without a message".to_string()
    }
}

/// Runs `body`; a panic becomes a failure of status `on_panic`. The hook is silenced because the
/// library prints nothing: the message travels in the failure.
pub fn contain<T>(on_panic: Status, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    static SILENT: Once = Once::new();
    SILENT.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let what = if on_panic == Status::Corrupt {
            "inconsistent data"
        } else {
            "a defect"
        };
        Err(Failure::new(
            on_panic,
            format!("{what}: {}", panic_message(payload)),
        ))
    })
}

/// # Safety
/// `out` and `error` must be valid for writes.
pub unsafe fn deliver<T>(result: Outcome<T>, out: *mut T, error: *mut Buffer) -> i32 {
    match result {
        Ok(value) => {
            unsafe { out.write(value) };
            0
        }
        Err(failure) => {
            unsafe { error.write(failure.message.into()) };
            failure.status as i32
        }
    }
}
