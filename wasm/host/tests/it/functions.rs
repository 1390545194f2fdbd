//! Functions written as text, in the hands of the engine: what they are called with, what they may answer, and what
//! becomes of them when they misbehave.

mod component;
mod hostile;
mod limits;
mod loading;
mod observed;
mod requests;
mod reuse;
mod rig;
mod streams;
mod triggers;
