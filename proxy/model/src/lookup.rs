//! Vamp's lookup names: SHA-1 of a class and a key, printed as an integer (leading zeros are dropped).
//! They are visible in REST, logs and cookies, so they match Vamp's to the digit
//! (Vamp 0.9.4, `model/.../artifact/Lookup.scala`).

use sha1::{Digest, Sha1};

fn lookup(class: &str, key: &str) -> String {
    let digest = Sha1::digest(format!("class {class}@{key}v1").as_bytes());
    as_integer(&hex::encode(digest))
}

fn as_integer(digits: &str) -> String {
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// Lookup name of an artifact of Vamp's class `io.vamp.model.artifact.<class>`, such as `Deployment`,
/// `DefaultBreed`, `Workflow`.
pub fn artifact(class: &str, name: &str) -> String {
    lookup(&format!("io.vamp.model.artifact.{class}"), name)
}

/// Lookup name of a gateway.
pub fn gateway(name: &str) -> String {
    artifact("Gateway", name)
}

/// Lookup name of a route within a gateway. The gateway's name counts as one part, whatever slashes it has.
pub fn route(gateway: &str, path: &str) -> String {
    let mut key = format!("{gateway}/*/*/*/{path}");
    let segments = if path.starts_with('[') {
        1
    } else {
        path.split('/').count()
    };
    for _ in segments..4 {
        key.push_str("/*");
    }
    artifact("Gateway", &key)
}

/// Lookup name of an instance that Weir runs.
pub fn instance(name: &str) -> String {
    artifact("InternalRouteTarget", name)
}

/// Lookup name of an external target, given as `host:port`.
pub fn external(address: &str) -> String {
    artifact("ExternalRouteTarget", address)
}

/// Name of an ACL: the first 16 digits of SHA-1 over its definition and `0000`, printed as an integer.
pub fn acl(definition: &str) -> String {
    let digits = hex::encode(Sha1::digest(format!("{definition}0000").as_bytes()));
    // Leading zeros are dropped before the digits are counted.
    as_integer(&digits).chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::{artifact, external, gateway, instance, route};

    /// Of every kind, from Vamp; those of the first part have digests that begin with zeros, which are dropped.
    #[test]
    fn matches_vamps_vectors() {
        for (found, name) in [
            (gateway("shop339"), "3522bfb7032416b27a7f01eb3a2a1c928ec771"),
            (
                artifact("Deployment", "shop2"),
                "7ccb03cb4cb0fdd86b3336d7652b8c6c90f6df",
            ),
            (
                artifact("DefaultBreed", "shop203"),
                "4c4f5f5a0bd056a5768efa0b9a9237e66fce4e",
            ),
            (
                artifact("Workflow", "shop63"),
                "874aeb757ab3923be46e31e9a7457d4661afe9",
            ),
            (external("10.0.0.1:175"), "8213347e24efd5f9ffe35341f370440a134271"),
            (
                route("a/b/p", "a/b/s7/p"),
                "66d7a9860d6315b5193afeb2bcf8872235b0cac",
            ),
            (
                gateway("sava_gateway"),
                "ebcec0d294fc399c5ee972c43a854e3b643d5ece",
            ),
            (
                gateway("vamp/sava/port/_"),
                "93a45182d84bf6fc0c3c23c33a9501c7d74be2bb",
            ),
            (
                artifact("Deployment", "sava"),
                "b745761242ab5566a44b556e62764beed46fa8de",
            ),
            (
                route("sava:1.0/sava/web", "sava:1.0/sava/sava:1.0/web"),
                "1f2c9bf68395805af6ecd4c389c061dfdd24d62d",
            ),
            (
                route("vamp/sava/port/_", "vamp/sava/sava:1.0.0/port"),
                "62a11db802baf59987a3ece9e10d8754eca16a09",
            ),
            (
                instance("64435a223bddf1fa589135baa5e228090279c032"),
                "f52646a39457170e02fb276840a696267e0815eb",
            ),
        ] {
            assert_eq!(found, name);
        }
    }

    /// The gateway's name is one part of the key, whatever slashes it has.
    #[test]
    fn routes_of_gateways_with_parts() {
        for (found, key) in [
            (route("a/b/p", "a/b/s/p"), "a/b/p/*/*/*/a/b/s/p"),
            (route("a", "b/c"), "a/*/*/*/b/c/*/*"),
            (route("a", "[10.0.0.1:80]"), "a/*/*/*/[10.0.0.1:80]/*/*/*"),
        ] {
            assert_eq!(found, artifact("Gateway", key));
        }
    }

    #[test]
    fn names_of_conditions_have_sixteen_digits_at_most() {
        for (definition, name) in [
            ("req.fhdr(User-Agent) -m sub 'Firefox'", "7b796e5d25d870c6"),
            ("req.fhdr(User-Agent) -m sub 'Chrome'", "de0de9d22824714a"),
            ("req.cook_cnt(vamp) eq 0", "85d714c5ede2f624"),
            ("req.cook(vamp) -m found", "c506a28623f9f83d"),
            ("hdr_sub(user-agent) Android", "29c278b48a0ff033"),
            // Its digest begins with three zeros.
            ("req.hdr(host) localhost", "63d10221023637c8"),
        ] {
            assert_eq!(super::acl(definition), name, "{definition}");
        }
    }
}
