//! The corpora, mutated: a short round of each.

use crate::{
    all_is_well,
    corpus::{self, GOOD},
    mutate::{HTTP, round},
    requests::{ask, one_reading},
    responses::{self, Scripted},
    server::Server,
    support::{World, instance, one_worker, route},
};

const SECONDS: u64 = 3;
/// Fewer steps of a round would try too little.
const STEPS_MIN: u64 = 50;

#[test]
fn mutated_requests_have_one_reading_or_none() {
    let server = Server::echoing();
    let world = World::empty(one_worker());
    world.apply_routes(vec![route("r", 100, vec![instance("i", server.port)])]);
    let seeds: Vec<Vec<u8>> = GOOD
        .iter()
        .map(|good| good.as_bytes().to_vec())
        .chain(corpus::all().into_iter().map(|(_, bytes, _)| bytes))
        .filter(|bytes| bytes.len() < 1_000)
        .map(|bytes| {
            // The marker of the corpus says nothing of what is made of it.
            String::from_utf8_lossy(&bytes)
                // In two parts: some cases have something between its letters, which may be taken out.
                .replace("mug", "ub")
                .replace("MUG", "UB")
                .replace("gled", "tle")
                .replace("GLED", "TLE")
                .into_bytes()
        })
        .collect();
    let steps = round(SECONDS, &seeds, HTTP, |bytes| {
        let what = format!("{:?}", String::from_utf8_lossy(bytes));
        let half = bytes.len() / 2;
        let answered = ask(&world, &[&bytes[..half], &bytes[half..]]);
        for answer in &answered {
            let status = answer.split(' ').next().unwrap();
            // An origin that reads laxly may give up on a request whose client gave up.
            assert!(
                [
                    "100", "200", "400", "405", "413", "414", "431", "501", "502", "505"
                ]
                .contains(&status),
                "{what}: {answered:?}"
            );
        }
        one_reading(&server, &answered, &what);
    });
    assert!(steps >= STEPS_MIN, "only {steps}");
    all_is_well(&world);
}

#[test]
fn mutated_answers_never_reach_another_request() {
    let scripted = Scripted::new();
    let seeds: Vec<Vec<u8>> = responses::GOOD
        .iter()
        .map(|good| good.as_bytes().to_vec())
        .collect();
    let steps = round(SECONDS, &seeds, HTTP, |bytes| {
        let what = format!("{:?}", String::from_utf8_lossy(bytes));
        let seen = scripted.ask_two(bytes, true);
        // Interim answers, then a final one; then the other request's own answer, or the end.
        let finals: Vec<&String> = seen.iter().filter(|answer| !answer.starts_with('1')).collect();
        match finals.as_slice() {
            [] | [_] => {}
            [_, second] => assert_eq!(*second, "200 GET /next h", "{what}: {seen:?}"),
            _ => panic!("{what}: {seen:?}"),
        }
    });
    assert!(steps >= STEPS_MIN, "only {steps}");
    all_is_well(&scripted.world);
}
