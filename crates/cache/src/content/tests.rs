//! Content that grows while it is read.

use std::time::Duration;

use super::*;

async fn read(reader: &mut Reader) -> Result<Vec<u8>, Reason> {
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

#[tokio::test]
async fn readers_follow_what_comes() {
    let content = Content::growing(None, 1000, Place::default());
    let mut early = content.reader().unwrap();
    content.push(Bytes::from_static(b"one ")).await;
    assert_eq!(early.next().await.unwrap().unwrap(), "one ");
    let mut late = content.reader().unwrap();
    let reading = tokio::spawn(async move { read(&mut early).await });
    content.push(Bytes::from_static(b"two")).await;
    content.finish(Ok(()));
    assert_eq!(reading.await.unwrap().unwrap(), b"two");
    assert_eq!(read(&mut late).await.unwrap(), b"one two");
    assert_eq!(read(&mut content.part(2, Some(5)).unwrap()).await.unwrap(), b"e t");
    assert!(content.is_whole() && content.length() == Some(7));
}

#[tokio::test]
async fn what_breaks_off_is_told_and_never_whole() {
    let content = Content::growing(None, 1000, Place::default());
    let mut reader = content.reader().unwrap();
    content.push(Bytes::from_static(b"half")).await;
    content.finish(Err(Reason::UpstreamReset));
    assert_eq!(reader.next().await.unwrap().unwrap(), "half");
    assert_eq!(reader.next().await, Err(Reason::UpstreamReset));
    assert!(!content.is_whole() && content.reader().is_none());
    let short = Content::growing(Some(5), 1000, Place::default());
    short.push(Bytes::from_static(b"four")).await;
    short.finish(Ok(()));
    assert!(!short.is_whole(), "RFC 9111 section 3.3: the head promised more");
}

#[tokio::test]
async fn what_is_too_large_waits_for_its_readers_and_is_let_go() {
    let content = Content::growing(None, 1000, Place::default());
    let mut reader = content.reader().unwrap();
    content.push(vec![1; 800].into()).await;
    let large = content.push(vec![2; WINDOW as usize].into());
    tokio::pin!(large);
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut large).await.is_err(), "nobody has read anything");
    assert_eq!(reader.next().await.unwrap().unwrap().len(), 800);
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut large).await.is_err());
    while content.lock().total - reader.at > 0 {
        reader.next().await.unwrap();
    }
    large.await;
    assert!(content.lock().pieces.is_empty(), "what was read is gone");
    assert!(content.reader().is_none(), "nobody else can begin");
    content.finish(Ok(()));
    assert_eq!(reader.next().await, Ok(None));
    assert!(!content.is_whole());
}

#[tokio::test]
async fn it_is_known_when_nobody_reads() {
    let content = Content::growing(None, 1000, Place::default());
    let reader = content.reader().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), content.deserted()).await.is_err());
    drop(reader);
    content.deserted().await;
}

/// All workers read what many ask for, and none is to wait for another one.
#[tokio::test]
async fn who_reads_what_is_whole_waits_for_no_lock() {
    let grown = Content::growing(None, 1000, Place::default());
    let early = grown.reader().unwrap();
    grown.push(Bytes::from_static(b"0123456789")).await;
    grown.finish(Ok(()));
    for content in [grown, Content::whole(Bytes::from_static(b"0123456789"))] {
        let held = content.lock();
        let shared = content.clone();
        let reading = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut reader = shared.reader().unwrap();
                assert_eq!((shared.length(), reader.is_done()), (Some(10), false));
                let all = read(&mut reader).await.unwrap();
                assert!(reader.is_done());
                shared.want();
                let mut part = shared.part(7, Some(90)).unwrap();
                (all, read(&mut part).await.unwrap())
            })
        });
        let began = std::time::Instant::now();
        while !reading.is_finished() && began.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        let waits = !reading.is_finished();
        drop(held);
        assert_eq!(reading.join().unwrap(), (b"0123456789".to_vec(), b"789".to_vec()));
        assert!(!waits, "it waits for the lock");
    }
    let mut early = early;
    assert_eq!(read(&mut early).await.unwrap(), b"0123456789", "and so does who began before");
}
