//! What can go wrong, in the terms of the C header.

use std::fmt::Display;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    Corrupt = 1,
    Invalid = 2,
    Raised = 3,
    Unknown = 4,
    Internal = 5,
}

#[derive(Debug)]
pub struct Failure {
    pub status: Status,
    pub message: String,
}

pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub fn corrupt(message: impl Display) -> Self {
        Self::new(Status::Corrupt, message.to_string())
    }

    pub fn invalid(message: impl Display) -> Self {
        Self::new(Status::Invalid, message.to_string())
    }
}
