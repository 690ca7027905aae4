//! A front end with TLS before a server without: what Cloud Run is for a container.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

pub struct Front {
    /// Where it listens, as a URL.
    pub url: String,
    /// The certificate that its callers have to believe in.
    pub roots: PathBuf,
    _dir: TempDir,
}

impl Front {
    /// Before what listens at `to`.
    pub async fn of(to: &str) -> Self {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let roots = dir.path().join("roots.pem");
        std::fs::write(&roots, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let to = to.to_owned();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, to) = (acceptor.clone(), to.clone());
                tokio::spawn(async move {
                    let mut secured = acceptor.accept(stream).await?;
                    copy_bidirectional(&mut secured, &mut TcpStream::connect(to).await?).await
                });
            }
        });
        Self { url, roots, _dir: dir }
    }
}
