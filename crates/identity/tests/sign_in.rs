//! People who sign in on a page: what their sessions end with, and users whom an OpenID provider knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use access::{Action, Context, Grant, Subject, Target, Unauthenticated};
use identity::model::{Group, Member, NewUser, PasswordChange, ProviderSubject, Source, UserPatch};
use identity::{Directory, Identity, Limits, Opened, ProviderAccount, Secret, SignIn};
use meta::{Clock, Timestamp};
use meta_sql::SqliteMeta;

const PASSWORD: &str = "a long word of ann";

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

struct World {
    identity: Identity,
    clock: Arc<SetClock>,
    grant: Grant,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(SetClock(AtomicI64::new(1_800_000_000_000_000)));
        let meta = Arc::new(SqliteMeta::in_memory(Arc::clone(&clock) as Arc<dyn Clock>).unwrap());
        let directory = Directory::open(meta, Arc::clone(&clock) as _, Limits::default()).await.unwrap();
        let grant = Grant::system("test", Action::ManageUsers, Target::System);
        let ann = NewUser {
            source: Default::default(),
            name: "ann".parse().unwrap(),
            password: Some(Secret::new(PASSWORD)),
            email: String::new(),
            display_name: String::new(),
            must_change_password: false,
        };
        directory.create_user(&grant, ann).await.unwrap();
        Self { identity: Identity::open(Arc::new(directory)).await.unwrap(), clock, grant }
    }

    fn directory(&self) -> &Directory {
        self.identity.directory()
    }

    async fn patch(&self, name: &str, patch: UserPatch) {
        let name = name.parse().unwrap();
        self.directory().change_user(&self.grant, &Subject::local(), &name, patch).await.unwrap();
    }

    async fn comes(&self, account: &ProviderAccount) -> Result<String, String> {
        let opened = self.identity.sign_in_from_provider(account.clone(), None).await;
        opened.map(|opened| opened.subject.actor().to_string()).map_err(|error| error.to_string())
    }
}

fn account(subject: &str, name: &str) -> ProviderAccount {
    ProviderAccount {
        subject: ProviderSubject { issuer: "https://id.example".into(), subject: subject.into() },
        name: Some(name.into()),
        email: Some(format!("{name}@example.com")),
        display_name: Some("Mia".into()),
        groups: vec!["ops".into()],
        session: None,
        id_token: Secret::new("token"),
    }
}

/// Somebody without a second factor signs in.
async fn sign_in(identity: &Identity, user: &str, password: &str) -> Result<Opened, Unauthenticated> {
    match identity.begin_sign_in(user, Secret::new(password), None).await? {
        SignIn::Open(opened) => Ok(opened),
        SignIn::Factor(_) => Err(Unauthenticated::SecondFactor),
    }
}

#[tokio::test]
async fn a_session_ends_with_what_opened_it() {
    let world = World::new().await;
    let identity = &world.identity;
    assert_eq!(sign_in(identity, "ann", "another").await.unwrap_err(), Unauthenticated::Wrong);
    let ann = async |password| sign_in(identity, "ann", password).await.unwrap().id;
    let (one, two) = (ann(PASSWORD).await, ann(PASSWORD).await);
    assert_ne!(one.secret().expose(), two.secret().expose());
    assert_eq!(identity.session(&one).await.unwrap().unwrap().subject.via(), "password");
    identity.sign_out(&one).unwrap();
    assert!(identity.session(&one).await.unwrap().is_none());
    assert!(identity.sign_out(&one).is_none());
    let new = "another word of ann";
    let change = PasswordChange { current: Secret::new(PASSWORD), new: Secret::new(new) };
    identity.change_password("ann", change, None, &Context::default()).await.unwrap();
    assert!(identity.session(&two).await.unwrap().is_none(), "the password was changed");
    let three = ann(new).await;
    world.patch("ann", UserPatch { email: Some("ann@example.com".into()), ..UserPatch::default() }).await;
    assert!(identity.session(&three).await.unwrap().is_some(), "what does not matter ends nothing");
    world.patch("ann", UserPatch { disabled: Some(true), ..UserPatch::default() }).await;
    assert!(identity.session(&three).await.unwrap().is_none(), "ann is kept out");
    world.patch("ann", UserPatch { disabled: Some(false), ..UserPatch::default() }).await;
    assert!(identity.session(&three).await.unwrap().is_none(), "it stays ended");
    let four = ann(new).await;
    world.clock.0.fetch_add(31 * 60 * 1_000_000, Ordering::SeqCst);
    assert!(identity.session(&four).await.unwrap().is_none(), "half an hour without a request");
}

#[tokio::test]
async fn what_was_shut_stays_shut_though_nobody_came_by_meanwhile() {
    let world = World::new().await;
    let identity = &world.identity;
    let disabled = async |name: &str| {
        for disabled in [true, false] {
            world.patch(name, UserPatch { disabled: Some(disabled), ..UserPatch::default() }).await;
        }
    };
    let ann = async || sign_in(identity, "ann", PASSWORD).await.unwrap().id;
    let mia = async || identity.sign_in_from_provider(account("1", "mia"), None).await.unwrap().id;
    let is_open = async |id| identity.session(id).await.unwrap().is_some();

    let kept_out = [ann().await, mia().await];
    disabled("ann").await;
    disabled("mia").await;
    for id in &kept_out {
        assert!(!is_open(id).await, "who was kept out signs in again");
    }
    let (of_ann, of_mia) = (ann().await, mia().await);
    disabled("ann").await;
    assert!(!is_open(&of_ann).await, "each time anew");
    assert!(is_open(&of_mia).await, "nobody else's");

    // The same password again is another one.
    let before = ann().await;
    let reset = UserPatch { password: Some(Secret::new("another word of ann")), ..UserPatch::default() };
    world.patch("ann", reset).await;
    let change = PasswordChange { current: Secret::new("another word of ann"), new: Secret::new(PASSWORD) };
    identity.change_password("ann", change, None, &Context::default()).await.unwrap();
    assert!(!is_open(&before).await, "the password was set meanwhile");

    // So is a user who is made again.
    let nia = async || identity.sign_in_from_provider(account("2", "nia"), None).await.unwrap().id;
    let (of_nia, name) = (nia().await, "nia".parse().unwrap());
    world.directory().delete_user(&world.grant, &Subject::local(), &name).await.unwrap();
    world.clock.0.fetch_add(1, Ordering::SeqCst);
    let again = nia().await;
    assert!(!is_open(&of_nia).await, "the user was deleted meanwhile");
    assert!(is_open(&again).await);
}

#[tokio::test]
async fn whom_a_provider_knows_is_one_user_for_good() {
    let world = World::new().await;
    let mia = account("1", "Mia");
    assert_eq!(world.comes(&mia).await.unwrap(), "mia");
    let name = "mia".parse().unwrap();
    let user = world.directory().user(&world.grant, &name).await.unwrap();
    assert_eq!((user.source, user.email.as_str()), (Source::Oidc, "Mia@example.com"));
    // Another name at the provider is no other user here, and the old name is nobody else's.
    assert_eq!(world.comes(&account("1", "mia.b")).await.unwrap(), "mia");
    assert!(world.comes(&account("2", "mia")).await.unwrap_err().contains("somebody else"));
    let mut elsewhere = account("1", "mia");
    elsewhere.subject.issuer = "https://other.example".into();
    assert!(world.comes(&elsewhere).await.unwrap_err().contains("somebody else"));
    assert!(world.comes(&account("3", "ann")).await.unwrap_err().contains("somebody else"));
    assert!(world.comes(&account("4", "no name")).await.unwrap_err().contains("is not a user name"));
    let nameless = ProviderAccount { name: None, ..account("5", "x") };
    assert!(world.comes(&nameless).await.unwrap_err().contains("auth.oidc.name_claim"));
    // Who is kept out stays out, under another name, too.
    world.patch("mia", UserPatch { disabled: Some(true), ..UserPatch::default() }).await;
    for name in ["mia", "mia.b"] {
        assert!(world.comes(&account("1", name)).await.is_err());
    }
    // Nobody signs in as them with a password.
    let wrong = sign_in(&world.identity, "mia", PASSWORD).await.unwrap_err();
    assert_eq!(wrong, Unauthenticated::Wrong);
    // Who was deleted is new.
    world.directory().delete_user(&world.grant, &Subject::local(), &name).await.unwrap();
    assert_eq!(world.comes(&account("1", "mia.b")).await.unwrap(), "mia.b");
}

#[tokio::test]
async fn groups_of_the_provider_are_groups_here_from_one_sign_in_to_the_next() {
    let world = World::new().await;
    let local = Subject::local();
    let group = Group {
        name: "operators".parse().unwrap(),
        description: String::new(),
        external: Some("ops".into()),
    };
    world.directory().put_group(&world.grant, &local, group).await.unwrap();
    let manage = Grant::system("test", Action::ManageMembers, Target::System);
    let principal = "group:operators".parse().unwrap();
    let member = Member { principal, role: "auditor".into(), project: None };
    world.directory().add_member(&manage, &local, &member).await.unwrap();
    let opened = world.identity.sign_in_from_provider(account("1", "mia"), None).await.unwrap();
    assert!(opened.subject.rights().system.contains(Action::ReadAudit));
    let token = identity::model::NewToken { label: "laptop".into(), expires: None, permissions: None };
    let context = access::Context::default();
    world.directory().create_token(&opened.subject, &context, token).await.unwrap();
    let without = ProviderAccount { groups: Vec::new(), ..account("1", "mia") };
    world.identity.sign_in_from_provider(without, None).await.unwrap();
    let subject = world.identity.session(&opened.id).await.unwrap().unwrap();
    assert!(
        subject.subject.rights().system.is_empty(),
        "an older session has no more than the newest word gives"
    );
    let ended = world.identity.sign_out_from_provider(Some("1"), None);
    assert_eq!(ended.len(), 2);
    assert!(world.identity.session(&opened.id).await.unwrap().is_none());
}
