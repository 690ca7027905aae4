//! An issuer of tokens, with its keys on a port of this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Json;
use axum::routing::get;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

pub struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    /// Of the public key, as a secret that a fool might take it for.
    pub public: Vec<u8>,
    pub url: String,
    fetched: Arc<AtomicUsize>,
}

fn part(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    /// With an RSA key, as Google has them for ID tokens.
    pub async fn start() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key();
        let jwk = json!({
            "kid": "one", "kty": "RSA", "alg": "RS256", "use": "sig",
            "n": part(public.modulus().big_endian_without_leading_zero()),
            "e": part(public.exponent().big_endian_without_leading_zero()),
        });
        let key = EncodingKey::from_rsa_der(&pkcs1(pair.as_der().unwrap().as_ref()));
        Self::publishing(Algorithm::RS256, key, public.as_ref().to_vec(), jwk).await
    }

    /// With a key of P-256, as Identity-Aware Proxy has them.
    pub async fn elliptic() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        // A byte that says how they are written, then both coordinates.
        let public = pair.public_key().as_ref().to_vec();
        let jwk = json!({
            "kid": "one", "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
            "x": part(&public[1..33]), "y": part(&public[33..]),
        });
        Self::publishing(Algorithm::ES256, EncodingKey::from_ec_der(pkcs8.as_ref()), public, jwk).await
    }

    async fn publishing(algorithm: Algorithm, key: EncodingKey, public: Vec<u8>, jwk: Value) -> Self {
        let fetched = Arc::new(AtomicUsize::new(0));
        let counted = fetched.clone();
        let keys = get(async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Json(json!({"keys": [jwk]}))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/certs", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/certs", keys)).await });
        Self { algorithm, key, public, url, fetched }
    }

    /// How often its keys were asked for.
    pub fn fetched(&self) -> usize {
        self.fetched.load(Ordering::Relaxed)
    }

    pub fn token(&self, kid: &str, claims: &Value) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }

    /// A token whose header names another algorithm, signed accordingly, or not at all.
    pub fn forged(&self, algorithm: &str, claims: &Value) -> String {
        if algorithm == "HS256" {
            let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
            return encode(&header, claims, &EncodingKey::from_secret(&self.public)).unwrap();
        }
        let header = json!({"alg": algorithm, "kid": "one", "typ": "JWT"}).to_string();
        format!("{}.{}.", part(header.as_bytes()), part(claims.to_string().as_bytes()))
    }
}

/// What Cloud Run makes of a token that it has checked.
pub fn stripped(token: &str) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    format!("{signed}.SIGNATURE_REMOVED_BY_GOOGLE")
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What Google says of an account.
pub fn claims(audience: &str, email: &str) -> Value {
    json!({
        "iss": "https://accounts.google.com", "aud": audience, "sub": "1234", "email": email, "email_verified": true,
        "iat": now(), "exp": now() + 600,
    })
}

/// The RSA key inside a PKCS#8 document: what `from_rsa_der` takes.
fn pkcs1(pkcs8: &[u8]) -> Vec<u8> {
    // PrivateKeyInfo ends in an OCTET STRING that holds the PKCS#1 key, itself a SEQUENCE.
    let start = pkcs8.windows(2).skip(20).position(|pair| pair == [0x30, 0x82]).unwrap() + 20;
    pkcs8[start..].to_vec()
}
