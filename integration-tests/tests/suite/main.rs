//! The end-to-end tests, one file a kind, in one binary: it is linked once and its tests run side by side.

mod backend_places;
mod batches;
mod bounds;
mod config_reload;
mod control_planes;
mod costs;
mod history;
mod kill_points;
mod lost_replies;
mod multipart_failures;
mod quotas;
mod races;
mod repeats;
mod s3_auth;
mod s3_bucket_settings;
mod s3_copy_object;
mod s3_cors;
mod s3_delete_objects;
mod s3_get_object;
mod s3_list_objects;
mod s3_multipart;
mod s3_object_names;
mod s3_object_tagging;
mod s3_put_object;
mod snapshot;
mod tls;
