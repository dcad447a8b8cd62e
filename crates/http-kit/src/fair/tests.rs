//! Admission and pacing over virtual time.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::*;

const MB: usize = 1_000_000;

fn from(address: &str) -> Keys {
    Keys { address: Some(address.parse::<IpAddr>().unwrap()), ..Keys::default() }
}

fn egress(rate: u64) -> Arc<Fair> {
    let limits = FairLimits { egress_bytes_per_second: NonZeroU64::new(rate), ..FairLimits::default() };
    Fair::new(&limits).unwrap()
}

fn requests(per_second: u32, burst: u32) -> Arc<Fair> {
    let per_address = KeyLimits {
        requests_per_second: NonZeroU32::new(per_second),
        burst: NonZeroU32::new(burst),
        ..KeyLimits::default()
    };
    Fair::new(&FairLimits { per_address, ..FairLimits::default() }).unwrap()
}

fn transfers(most: u32) -> Arc<Fair> {
    let per_address = KeyLimits { transfers: NonZeroU32::new(most), ..KeyLimits::default() };
    Fair::new(&FairLimits { per_address, ..FairLimits::default() }).unwrap()
}

async fn transfer(fair: &Arc<Fair>, address: &str) -> Result<Admitted, Refused> {
    let mut admitted = fair.admit(from(address)).await?;
    admitted.transfer().await?;
    Ok(admitted)
}

async fn collect(body: Body) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

#[track_caller]
fn assert_took(since: Instant, seconds: f64) {
    let took = since.elapsed().as_secs_f64();
    assert!((took - seconds).abs() <= (seconds * 0.05).max(0.06), "{took} s, not {seconds} s");
}

#[test]
fn nothing_limited_is_nothing_at_all() {
    assert!(Fair::new(&FairLimits::default()).is_none());
    let projects = [("a".into(), KeyLimits::default())].into();
    assert!(Fair::new(&FairLimits { projects, ..FairLimits::default() }).is_none());
    let limits = KeyLimits { transfers: NonZeroU32::new(1), ..KeyLimits::default() };
    let projects = [("a".into(), limits)].into();
    assert!(Fair::new(&FairLimits { projects, ..FairLimits::default() }).is_some());
}

#[tokio::test(start_paused = true)]
async fn requests_wait_their_turn_after_a_burst() {
    let fair = requests(10, 5);
    let start = Instant::now();
    for _ in 0..5 {
        fair.admit(from("192.0.2.1")).now_or_never().expect("within the burst").unwrap();
    }
    assert!(fair.admit(from("192.0.2.1")).now_or_never().is_none());
    for _ in 0..50 {
        fair.admit(from("192.0.2.1")).await.unwrap();
    }
    assert_took(start, 5.0);
    fair.admit(from("192.0.2.2")).now_or_never().expect("another key is not held up").unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_refused_with_the_seconds() {
    let fair = requests(10, 1);
    let waiting = futures_util::future::join_all((0..150).map(|_| fair.admit(from("192.0.2.1"))));
    let start = Instant::now();
    let answers = waiting.await;
    assert_took(start, 10.0);
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!((49..=50).contains(&refused.len()), "{}", refused.len());
    // One that would have its turn at the very end of the wait may be served, or refused then.
    let at_once = refused.iter().filter(|refused| (10..=11).contains(&refused.retry_after));
    assert_eq!(at_once.count(), 49, "{refused:?}");
}

/// The queue of an identity is long, but not because of this address: it waits, is overtaken by nobody for long, and
/// would be told how long its own way is.
#[tokio::test(start_paused = true)]
async fn a_crowd_of_one_address_does_not_keep_another_from_its_turn() {
    let per_identity = KeyLimits { requests_per_second: NonZeroU32::new(10), ..KeyLimits::default() };
    let fair = Fair::new(&FairLimits { per_identity, ..FairLimits::default() }).unwrap();
    let keys = |address| Keys { identity: Some("robot".into()), ..from(address) };
    let crowd: Vec<_> = (0..300)
        .map(|_| {
            let (fair, keys) = (Arc::clone(&fair), keys("192.0.2.1"));
            tokio::spawn(async move { fair.admit(keys).await.map(drop) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    for _ in 0..10 {
        fair.admit(keys("192.0.2.2")).await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_millis(2_200), "{:?}", start.elapsed());
    for waiter in crowd {
        waiter.await.unwrap().ok();
    }
    assert_took(start, 10.0);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_frees_the_place() {
    let fair = requests(10, 1);
    fair.admit(from("192.0.2.1")).await.unwrap();
    for _ in 0..1000 {
        assert!(fair.admit(from("192.0.2.1")).now_or_never().is_none());
    }
    let start = Instant::now();
    fair.admit(from("192.0.2.1")).await.unwrap();
    assert_took(start, 0.1);
}

#[tokio::test(start_paused = true)]
async fn addresses_of_one_network_are_one_client() {
    let fair = requests(1, 1);
    fair.admit(from("2001:db8:0:1::1")).now_or_never().unwrap().unwrap();
    assert!(fair.admit(from("2001:db8:0:1::2")).now_or_never().is_none());
    fair.admit(from("2001:db8:0:2::1")).now_or_never().unwrap().unwrap();
    fair.admit(Keys::default()).now_or_never().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn transfers_beyond_the_most_wait_until_one_ends() {
    let fair = transfers(2);
    let (first, second) =
        (transfer(&fair, "192.0.2.1").await.unwrap(), transfer(&fair, "192.0.2.1").await.unwrap());
    assert!(transfer(&fair, "192.0.2.1").now_or_never().is_none());
    transfer(&fair, "192.0.2.2").now_or_never().expect("another key has its own").unwrap();
    fair.admit(from("192.0.2.1")).now_or_never().expect("what moves nothing needs no turn").unwrap();

    let third = transfer(&fair, "192.0.2.1");
    let mut third = Box::pin(third);
    assert!(third.as_mut().now_or_never().is_none());
    let mut body = first.pace(Body::full(vec![0; MB]));
    assert!(third.as_mut().now_or_never().is_none());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), MB);
    drop(body);
    drop(third.await.unwrap());
    drop(second.pace(Body::full(vec![0; MB])));
    let both = (transfer(&fair, "192.0.2.1").await.unwrap(), transfer(&fair, "192.0.2.1").await.unwrap());

    let start = Instant::now();
    let refused = transfer(&fair, "192.0.2.1").await.map(drop).unwrap_err();
    assert_took(start, 10.0);
    assert_eq!(refused, Refused { retry_after: 10 });
    drop(both);
}

/// A turn that is handed over at the very moment its waiter gives up goes to the one after.
#[tokio::test(start_paused = true)]
async fn a_turn_is_never_lost() {
    let fair = transfers(1);
    let first = transfer(&fair, "192.0.2.1").await.unwrap();
    let mut gone = Box::pin(transfer(&fair, "192.0.2.1"));
    let mut next = Box::pin(transfer(&fair, "192.0.2.1"));
    assert!(gone.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
    drop(first);
    drop(gone);
    next.now_or_never().expect("its turn").unwrap();
    transfer(&fair, "192.0.2.1").now_or_never().expect("nobody is left").unwrap();
}

#[tokio::test(start_paused = true)]
async fn bodies_of_every_kind_keep_to_the_rate() {
    let bytes: Bytes = (0..2 * MB).map(|at| at as u8 ^ (at >> 8) as u8).collect();
    let chunks = |len: usize| {
        let chunks: Vec<_> = bytes.chunks(len).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        stream::iter(chunks)
    };
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    let range = crate::FileRange { file: Arc::new(file), offset: 0, len: bytes.len() as u64 };
    for body in [
        Body::full(bytes.clone()),
        Body::file(range),
        Body::stream(chunks(1000), None),
        Body::stream(chunks(MB), Some(bytes.len() as u64)),
        Body::stream(chunks(77_777), None),
    ] {
        let fair = egress(MB as u64);
        let start = Instant::now();
        let paced = fair.admit(from("192.0.2.1")).await.unwrap().pace(body);
        assert!(collect(paced).await == bytes);
        assert_took(start, 2.0);
    }
}

#[tokio::test(start_paused = true)]
async fn lengths_and_errors_of_a_body_stay_as_they_are() {
    let fair = egress(MB as u64);
    let pace = async |body| fair.admit(from("192.0.2.1")).await.unwrap().pace(body);
    let mut body = pace(Body::full(vec![1; MB])).await;
    let mut left = MB as u64;
    while !body.is_end_stream() {
        assert_eq!(body.size_hint().exact(), Some(left));
        left -= body.frame().await.unwrap().unwrap().into_data().unwrap().len() as u64;
    }
    assert_eq!(left, 0);
    assert!(pace(Body::empty()).await.is_end_stream());
    for (len, promised) in [(MB, MB as u64 - 1), (MB, MB as u64 + 1)] {
        let stream = stream::iter([Ok(Bytes::from(vec![0; len]))]);
        assert!(pace(Body::stream(stream, Some(promised))).await.collect().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn small_bodies_do_not_wait_but_count() {
    let fair = egress(MB as u64);
    let start = Instant::now();
    for _ in 0..20 {
        let small = fair.admit(from("192.0.2.1")).await.unwrap().pace(Body::full(vec![0; 10_000]));
        collect(small).now_or_never().expect("it does not wait");
    }
    let large = fair.admit(from("192.0.2.2")).await.unwrap().pace(Body::full(vec![0; 100_000]));
    collect(large).await;
    assert_took(start, 0.25);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_gives_back_what_it_did_not_send() {
    let fair = egress(100_000);
    let start = Instant::now();
    for _ in 0..100 {
        let stream = stream::pending();
        let mut body = fair.admit(from("192.0.2.1")).await.unwrap().pace(Body::stream(stream, None));
        assert!(body.frame().now_or_never().is_none());
    }
    collect(fair.admit(from("192.0.2.1")).await.unwrap().pace(Body::full(vec![0; 20_000]))).await;
    assert_took(start, 0.12);
}

#[tokio::test(start_paused = true)]
async fn request_bodies_keep_to_the_rate() {
    let limits = FairLimits { ingress_bytes_per_second: NonZeroU64::new(MB as u64), ..FairLimits::default() };
    let fair = Fair::new(&limits).unwrap();
    let admitted = fair.admit(from("192.0.2.1")).await.unwrap();
    let start = Instant::now();
    for _ in 0..3 {
        let mut body = admitted.pace_request(RequestBody::full(vec![0; MB]));
        let mut got = 0;
        while let Some(bytes) = body.next().await {
            got += bytes.unwrap().len();
        }
        assert_eq!(got, MB);
    }
    // The last second is owed by whoever comes next.
    assert_took(start, 2.0);
    assert!(admitted.pace_request(RequestBody::full("small")).next().now_or_never().is_some());
    assert_eq!(collect(admitted.pace(Body::full("unlimited"))).await, "unlimited");
}
