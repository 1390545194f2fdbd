//! What each building-block operation means.
