//! What every file store promises, as named cases.

mod content;
mod fixture;
mod listing;
mod names;

pub use content::*;
pub use listing::*;
pub use names::*;

/// One test per promise of [`FileStore`](outrigger_component_api::FileStore), against the store the expression makes.
#[macro_export]
macro_rules! file_suite {
    ($make:expr) => {
        $crate::cases! { $make, file, $crate::file::FileStoreUnderTest;
            ping_succeeds
            a_file_is_read_as_it_was_written
            writing_again_replaces_the_whole_file
            a_body_that_fails_changes_nothing
            a_put_that_is_given_up_changes_nothing
            a_reader_sees_one_version
            of_many_writers_one_wins_whole
            a_missing_file_is_not_found
            a_deleted_file_is_gone
            stat_tells_what_is_there
            a_listing_is_in_pages_by_name
            a_listing_shows_its_directory_only
            uploads_under_way_are_not_listed
            names_that_lead_out_are_refused
            outlives_the_runtime_that_used_it_first
        }
    };
}

#[doc(hidden)]
pub use outrigger_component_api::FileStore as FileStoreUnderTest;
