//! scratch
use bus::*;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
#[tokio::main]
async fn main() {
    let host = std::env::var("PUBSUB_EMULATOR_HOST").expect("host");
    for (streams, wait_ms, n) in [
        (1usize, 0u64, 100usize),
        (8, 0, 100),
        (8, 500, 100),
        (8, 2000, 100),
        (8, 0, 0),
        (8, 0, 5),
        (1, 2000, 100),
        (8, 0, 2000),
    ] {
        let g = Google::new("probe", Some(host.clone()));
        let t = format!("t-{:x}", rand::random::<u64>());
        g.ensure_topic(&t).await.expect("t");
        g.ensure_subscription(Spec::new(&t, &t)).await.expect("s");
        let msgs = |r: std::ops::Range<usize>| {
            r.map(|i| Message { data: format!("{i}").into(), ..Default::default() }).collect::<Vec<_>>()
        };
        if n > 0 {
            g.publisher(&t).publish(msgs(0..n)).await.expect("p");
        }
        let (tx, mut rx) = mpsc::channel(100);
        let stop = CancellationToken::new();
        let s = g.subscription(&t, streams, 1000);
        let st = stop.clone();
        let h = tokio::spawn(async move { s.receive(tx, st).await });
        for _ in 0..n {
            rx.recv().await.expect("d").receipt.ack();
        }
        let b = Instant::now();
        stop.cancel();
        h.await.expect("j").expect("r");
        let stopped = b.elapsed();
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        g.publisher(&t).publish(msgs(0..1)).await.expect("p");
        for _ in 0..4 {
            let out = std::process::Command::new("curl")
                .args([
                    "-s",
                    "-m",
                    "5",
                    "-XPOST",
                    "-H",
                    "content-type: application/json",
                    "-d",
                    r#"{"maxMessages":10,"returnImmediately":true}"#,
                    &format!("http://{host}/v1/projects/probe/subscriptions/{t}:pull"),
                ])
                .output()
                .expect("curl");
            println!(
                "streams {streams} wait {wait_ms} n {n}: stop took {stopped:?}, pull: {}",
                String::from_utf8_lossy(&out.stdout).replace("\n", " ")
            );
        }
        let out =
            std::process::Command::new("sh").args(["-c", "ss -tnp | grep 18085 | grep probe"]).output().expect("ss");
        println!("{}", String::from_utf8_lossy(&out.stdout));
    }
}
