//! Front doors: the wire dialects of the building blocks.
