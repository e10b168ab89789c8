//! Text for agents that run HAProxy, and its template.

use crate::world::{PATIENCE, World};

const GATEWAY: &str = "name: outside\nport: 18081\nroutes:\n  '[127.0.0.1:9]': {weight: 100%, condition: user-agent == Chrome}\n";

async fn configuration(world: &World, path: &str, has: &str) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = world.get(path).await;
        if answer.status == 200 && answer.text.contains(has) {
            assert!(answer.header("content-type").starts_with("text/plain"));
            return answer.text;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{has} is not in {}",
            answer.text
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_text_follows_gateways_and_template() {
    let world = World::new().await;
    world.post("/gateways", GATEWAY).await;
    let text = configuration(&world, "/vga/haproxy/1.7/configuration", "bind 127.0.0.1:18081").await;
    assert!(text.contains("hdr_sub(user-agent) Chrome"), "{text}");
    for alias in ["/vga/haproxy/1.7/config", "/haproxy/1.7"] {
        assert_eq!(world.get(alias).await.is(200).text, text);
    }
    let default = world.get("/vga/haproxy/1.7/template").await.is(200).text;
    assert!(default.contains("haproxy.frontends"), "{default}");

    let refused = world
        .put("/vga/haproxy/1.7/template", "ok\n{% for %}")
        .await
        .is(400);
    assert!(refused.message().contains("line 2"), "{}", refused.message());
    let own = "{% for f in haproxy.frontends %}{{ f.name }}={{ f.bindPort.isDefined }};{% endfor %}";
    assert_eq!(
        world.put("/vga/haproxy/1.7/template", own).await.is(202).text,
        own
    );
    assert_eq!(world.get("/vga/haproxy/1.7/template").await.text, own);
    configuration(&world, "/haproxy/1.7", "outside=").await;
    assert_eq!(
        world.delete("/vga/haproxy/1.7/template").await.is(200).text,
        default
    );
    configuration(&world, "/haproxy/1.7", "frontend").await;
    let told = world.events("tag=marshaller:template&tag=name:1.7").await;
    assert_eq!(told.len(), 2);
    assert!(!world.events("tag=marshaller:configuration").await.is_empty());

    for path in [
        "/vga/haproxy/2.0/template",
        "/vga/nginx/1.7/configuration",
        "/haproxy/2",
    ] {
        let message = world.get(path).await.is(404).message();
        assert!(message.contains("haproxy/1.7"), "{message}");
    }
}

#[tokio::test]
async fn a_control_alone_leads() {
    let world = World::new().await;
    let shown = world.get("/leader").await.is(200).json();
    assert_eq!(
        (&shown["leads"], &shown["election"]),
        (&true.into(), &false.into())
    );
}
