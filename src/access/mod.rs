//! Requests, approvals and grants as a pure state machine: decide, then apply.
