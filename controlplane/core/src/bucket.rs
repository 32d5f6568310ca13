//! What clients may do to buckets themselves: make, delete, set rules.
//!
//! Invariants: what YAML declares is changed in YAML only; a repeat by the same operation id changes nothing; a bucket
//! is deleted only when it has no object, version or intent, which is looked at under the lock that every writer holds
//! shared; its open uploads are given up then.

use s3o_types::{BucketId, BucketLock, BucketName, CorsRule, ErrorCode, LifecycleRule, Versioning};
use uuid::Uuid;

use crate::call::Refusal;
use crate::config::BucketState;

/// How many buckets an access key may have made at a time: the configuration, which has all of them, goes to every data
/// plane whole. S3's own limit was 100 for long (Amazon S3 User Guide, "Bucket restrictions and limitations").
pub const MAX_OWNED: u64 = 1000;

/// A change that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketChange {
    /// The request's operation id.
    pub op: Uuid,
    /// Who asks.
    pub access_key: String,
    /// Of which bucket.
    pub name: BucketName,
    /// What.
    pub wanted: Wanted,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A bucket of one's own; `locks`: with Object Lock.
    Create {
        /// Whether it is to have Object Lock, and so to keep versions.
        locks: bool,
    },
    /// It gone.
    Delete,
    /// These rules instead of those that were stored; none removes them.
    Cors(Vec<CorsRule>),
    /// The same of the rules by which objects expire.
    Lifecycle(Vec<LifecycleRule>),
    /// Object Lock, with this instead of what was said before.
    Lock(BucketLock),
}

impl Wanted {
    /// The word in the change log.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Create { .. } => "created",
            Self::Delete => "deleted",
            Self::Cors(_) => "cors",
            Self::Lifecycle(_) => "lifecycle",
            Self::Lock(_) => "object_lock",
        }
    }
}

/// What a change is decided from, read in its transaction under the lock that all changes of the configuration take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The bucket of the name that is not gone.
    pub named: Option<Named>,
    /// This operation has made or deleted a bucket before.
    pub repeated: bool,
    /// The access key exists and may make buckets.
    pub may_create: bool,
    /// The access key may change the settings of `named`.
    pub may_configure: bool,
    /// Buckets that the access key has made.
    pub owned: u64,
    /// A data plane or a replica that is connected and does not know versions.
    pub lacking: Option<String>,
}

/// A bucket as a change sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column")]
pub struct Named {
    /// Its number.
    pub id: BucketId,
    /// Active or deleting.
    pub state: BucketState,
    /// It stands in YAML.
    pub declared: bool,
    /// YAML has CORS rules for it.
    pub declares_cors: bool,
    /// YAML says what expires.
    pub declares_lifecycle: bool,
    /// YAML says that it has Object Lock.
    pub declares_lock: bool,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// The access key that made it.
    pub owner: Option<String>,
}

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it was done before, by this operation.
    Done,
    /// A row for the bucket, and a grant to all of it for who asks.
    Create {
        /// With Object Lock.
        locks: bool,
    },
    /// The bucket's lock, exclusively; then [`empty`] says whether it goes.
    Delete(BucketId),
    /// Its CORS rules.
    Cors(BucketId),
    /// Its lifecycle rules.
    Lifecycle(BucketId),
    /// The bucket's lock, exclusively; then its Object Lock, if it still keeps versions.
    Lock(BucketId),
}

/// What a bucket still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a table that was looked into")]
pub struct Contents {
    /// Current objects.
    pub objects: bool,
    /// Noncurrent versions and delete markers.
    pub versions: bool,
    /// Open multipart uploads. None are looked for where a client deletes the bucket: they are given up then.
    pub uploads: bool,
    /// Writes under way.
    pub intents: bool,
}

impl Contents {
    /// What there is, in words; `None`: nothing.
    pub fn named(self) -> Option<String> {
        let Self { objects, versions, uploads, intents } = self;
        let named = [
            (objects, "objects"),
            (versions, "noncurrent versions or delete markers"),
            (uploads, "multipart uploads that are not completed"),
            (intents, "writes under way"),
        ];
        let has: Vec<&str> = named.into_iter().filter_map(|(there, what)| there.then_some(what)).collect();
        (!has.is_empty()).then(|| has.join(", "))
    }
}

/// Decides.
pub fn decide(change: &BucketChange, facts: &Facts) -> Result<Step, Refusal> {
    if facts.repeated {
        return Ok(Step::Done);
    }
    match &change.wanted {
        Wanted::Create { locks } => create(change, facts, *locks),
        Wanted::Delete => delete(facts),
        Wanted::Cors(_) => cors(facts),
        Wanted::Lifecycle(_) => lifecycle(facts),
        Wanted::Lock(_) => lock(facts),
    }
}

fn create(change: &BucketChange, facts: &Facts, locks: bool) -> Result<Step, Refusal> {
    if let Some(named) = &facts.named {
        return Err(taken(change, named));
    }
    if !facts.may_create {
        return Err(denied("the access key may not create buckets"));
    }
    if facts.owned >= MAX_OWNED {
        let why = format!("the access key has {} buckets, at most {MAX_OWNED} are allowed", facts.owned);
        return Err(Refusal::new(ErrorCode::TooManyBuckets, why));
    }
    // As where versioning is enabled: it would take `null` for the current version, whichever that is.
    if let Some(name) = facts.lacking.as_ref().filter(|_| locks) {
        let why = format!("`{name}` is of a release that does not know versions; upgrade it first");
        return Err(Refusal::new(ErrorCode::FeatureRequired, why));
    }
    Ok(Step::Create { locks })
}

fn taken(change: &BucketChange, named: &Named) -> Refusal {
    let (code, why) = match (named.state, &named.owner) {
        (BucketState::Active, Some(owner)) if *owner == change.access_key => {
            (ErrorCode::BucketAlreadyOwnedByYou, "you have a bucket of this name")
        }
        (BucketState::Active, _) => (ErrorCode::BucketAlreadyExists, "the name is not available"),
        (BucketState::Deleting | BucketState::Gone, _) => (
            ErrorCode::OperationAborted,
            "the bucket of this name that was deleted is still being emptied; please try again later",
        ),
    };
    Refusal::new(code, why)
}

fn delete(facts: &Facts) -> Result<Step, Refusal> {
    let named = configurable(facts)?;
    if named.owner.is_none() || named.declared {
        return Err(denied(
            "the bucket is declared in the cluster's configuration file, and is removed there only",
        ));
    }
    Ok(Step::Delete(named.id))
}

fn cors(facts: &Facts) -> Result<Step, Refusal> {
    let named = configurable(facts)?;
    if named.declares_cors {
        let why = "the bucket's CORS rules are declared in the cluster's configuration file, and are changed there only";
        return Err(denied(why));
    }
    Ok(Step::Cors(named.id))
}

fn lifecycle(facts: &Facts) -> Result<Step, Refusal> {
    let named = configurable(facts)?;
    if named.declares_lifecycle {
        let why = "the bucket's lifecycle is declared in the cluster's configuration file, and is changed there only";
        return Err(denied(why));
    }
    Ok(Step::Lifecycle(named.id))
}

fn lock(facts: &Facts) -> Result<Step, Refusal> {
    let named = configurable(facts)?;
    if named.declares_lock {
        let why = "the bucket's Object Lock is declared in the cluster's configuration file, and is changed there only";
        return Err(denied(why));
    }
    if named.versioning != Versioning::Enabled {
        return Err(lacks_versioning());
    }
    Ok(Step::Lock(named.id))
}

/// S3's sentence (S3 API reference, `PutObjectLockConfiguration`).
pub fn lacks_versioning() -> Refusal {
    let why = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
    Refusal::new(ErrorCode::InvalidBucketState, why)
}

fn configurable(facts: &Facts) -> Result<&Named, Refusal> {
    let named = facts.named.as_ref().filter(|named| named.state == BucketState::Active);
    let named = named.ok_or_else(|| Refusal::new(ErrorCode::NoSuchBucket, "the bucket does not exist"))?;
    if facts.may_configure {
        Ok(named)
    } else {
        Err(denied("the access key has no right to configure the bucket"))
    }
}

fn denied(why: &str) -> Refusal {
    Refusal::new(ErrorCode::AccessDenied, why)
}

/// Whether a bucket with these contents may be deleted.
pub fn empty(contents: Contents) -> Result<(), Refusal> {
    let Some(has) = contents.named() else { return Ok(()) };
    let why = format!("The bucket you tried to delete is not empty: it has {has}.");
    Err(Refusal::new(ErrorCode::BucketNotEmpty, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OP: Uuid = Uuid::from_u128(1);

    fn change(wanted: Wanted) -> BucketChange {
        let name = "photos".parse().expect("a name");
        BucketChange { op: OP, access_key: "me".to_owned(), name, wanted }
    }

    fn mine() -> Named {
        Named {
            id: BucketId(7),
            state: BucketState::Active,
            declared: false,
            declares_cors: false,
            declares_lifecycle: false,
            declares_lock: false,
            versioning: Versioning::Off,
            owner: Some("me".to_owned()),
        }
    }

    fn code(wanted: Wanted, facts: &Facts) -> Result<Step, ErrorCode> {
        decide(&change(wanted), facts).map_err(|refusal| refusal.code)
    }

    #[test]
    fn only_who_may_creates() {
        let may = Facts { may_create: true, ..Facts::default() };
        assert_eq!(code(Wanted::Create { locks: false }, &may), Ok(Step::Create { locks: false }));
        assert_eq!(code(Wanted::Create { locks: false }, &Facts::default()), Err(ErrorCode::AccessDenied));
        let full = Facts { owned: MAX_OWNED, ..may };
        assert_eq!(code(Wanted::Create { locks: false }, &full), Err(ErrorCode::TooManyBuckets));
    }

    #[test]
    fn a_name_is_given_once() {
        let with = |named| Facts { may_create: true, named: Some(named), ..Facts::default() };
        let other = Named { owner: Some("other".to_owned()), ..mine() };
        let declared = Named { owner: None, declared: true, ..mine() };
        let deleting = Named { state: BucketState::Deleting, ..mine() };
        for (named, expected) in [
            (mine(), ErrorCode::BucketAlreadyOwnedByYou),
            (other, ErrorCode::BucketAlreadyExists),
            (declared, ErrorCode::BucketAlreadyExists),
            (deleting, ErrorCode::OperationAborted),
        ] {
            assert_eq!(
                code(Wanted::Create { locks: false }, &with(named.clone())),
                Err(expected),
                "{named:?}"
            );
            let repeated = Facts { repeated: true, ..with(named) };
            assert_eq!(
                code(Wanted::Create { locks: false }, &repeated),
                Ok(Step::Done),
                "a repeat gets the first outcome"
            );
        }
    }

    #[test]
    fn what_yaml_declares_stays() {
        let facts = |named| Facts { may_configure: true, named: Some(named), ..Facts::default() };
        let declared = Named { declared: true, owner: None, ..mine() };
        assert_eq!(code(Wanted::Delete, &facts(declared.clone())), Err(ErrorCode::AccessDenied));
        assert_eq!(code(Wanted::Cors(vec![]), &facts(declared.clone())), Ok(Step::Cors(BucketId(7))));
        assert_eq!(
            code(Wanted::Lifecycle(vec![]), &facts(declared.clone())),
            Ok(Step::Lifecycle(BucketId(7)))
        );
        let expires = Named { declares_lifecycle: true, ..declared.clone() };
        assert_eq!(code(Wanted::Cors(vec![]), &facts(expires.clone())), Ok(Step::Cors(BucketId(7))));
        assert_eq!(code(Wanted::Lifecycle(vec![]), &facts(expires)), Err(ErrorCode::AccessDenied));
        let rules = Named { declares_cors: true, ..declared };
        assert_eq!(code(Wanted::Cors(vec![]), &facts(rules)), Err(ErrorCode::AccessDenied));
    }

    #[test]
    fn locks_only_what_keeps_versions() {
        let facts = |versioning, declares_lock| {
            let named = Named { declares_lock, versioning, ..mine() };
            Facts { may_configure: true, named: Some(named), ..Facts::default() }
        };
        let lock = || Wanted::Lock(BucketLock::default());
        assert_eq!(code(lock(), &facts(Versioning::Enabled, false)), Ok(Step::Lock(BucketId(7))));
        assert_eq!(code(lock(), &facts(Versioning::Enabled, true)), Err(ErrorCode::AccessDenied));
        for versioning in [Versioning::Off, Versioning::Suspended] {
            assert_eq!(code(lock(), &facts(versioning, false)), Err(ErrorCode::InvalidBucketState));
        }
        let not_allowed = Facts { may_configure: false, ..facts(Versioning::Enabled, false) };
        assert_eq!(code(lock(), &not_allowed), Err(ErrorCode::AccessDenied));
        let may = Facts { may_create: true, ..Facts::default() };
        assert_eq!(code(Wanted::Create { locks: true }, &may), Ok(Step::Create { locks: true }));
        let old = Facts { lacking: Some("dp-1".to_owned()), ..may };
        assert_eq!(code(Wanted::Create { locks: true }, &old), Err(ErrorCode::FeatureRequired));
        assert_eq!(code(Wanted::Create { locks: false }, &old), Ok(Step::Create { locks: false }));
    }

    #[test]
    fn deletes_once_and_only_what_is_ones_own() {
        let facts = Facts { may_configure: true, named: Some(mine()), ..Facts::default() };
        assert_eq!(code(Wanted::Delete, &facts), Ok(Step::Delete(BucketId(7))));
        let not_allowed = Facts { may_configure: false, ..facts.clone() };
        assert_eq!(code(Wanted::Delete, &not_allowed), Err(ErrorCode::AccessDenied));
        assert_eq!(code(Wanted::Delete, &Facts::default()), Err(ErrorCode::NoSuchBucket));
        let again = Named { state: BucketState::Deleting, ..mine() };
        let again = Facts { named: Some(again), ..facts };
        assert_eq!(code(Wanted::Delete, &again), Err(ErrorCode::NoSuchBucket));
        // Repeated, it must not hit a bucket that was made in between.
        let repeated = Facts { repeated: true, named: Some(mine()), may_configure: true, ..Facts::default() };
        assert_eq!(code(Wanted::Delete, &repeated), Ok(Step::Done));
    }

    #[test]
    fn whatever_is_in_it_keeps_a_bucket() {
        assert!(empty(Contents::default()).is_ok());
        let all = Contents { objects: true, versions: true, uploads: true, intents: true };
        let refusal = empty(all).expect_err("full");
        assert_eq!(refusal.code, ErrorCode::BucketNotEmpty);
        assert!(refusal.message.contains("objects, noncurrent versions"), "{}", refusal.message);
        for one in [
            Contents { objects: true, ..Contents::default() },
            Contents { versions: true, ..Contents::default() },
            Contents { uploads: true, ..Contents::default() },
            Contents { intents: true, ..Contents::default() },
        ] {
            assert!(empty(one).is_err(), "{one:?}");
        }
    }
}
