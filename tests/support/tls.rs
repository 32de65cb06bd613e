//! Certificates of a test's own, a client that speaks TLS, and an upstream that does.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;

use super::{
    PATIENCE,
    message::{Message, Reader},
};

/// An authority, and a folder with its certificate (`ca.pem`) and those that it signed.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two of them are two authorities by their names too.
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("authority {}", NEXT.fetch_add(1, Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { folder, issuer }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the folder, as text for a configuration or a command.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes `NAME.crt` and `NAME.key`, good for `hosts`, each at one stroke.
    pub(crate) fn sign(&self, name: &str, hosts: &[&str]) {
        self.sign_until(name, hosts, 2099);
    }

    /// The same, good until the begin of a year.
    pub(crate) fn sign_until(&self, name: &str, hosts: &[&str], year: i32) {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.replace(&format!("{name}.key"), &key.serialize_pem());
        self.replace(&format!("{name}.crt"), &certificate.pem());
    }

    /// Writes the authority's answer about the certificate `NAME.crt`: that it is good.
    pub(crate) fn write_ocsp(&self, name: &str, file: &str) {
        self.replace("ca.key", &self.issuer.key().serialize_pem());
        let openssl = |arguments: &[&str]| {
            let output =
                Command::new("openssl").args(arguments).current_dir(self.folder()).output();
            let output = output.expect("openssl");
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let certificate = format!("{name}.crt");
        let serial = openssl(&["x509", "-in", &certificate, "-noout", "-serial"]);
        let serial = serial.strip_prefix("serial=").expect("a number");
        // The list that openssl's own authority keeps: valid, until, revoked, number, file, name.
        self.replace("index", &format!("V\t20981231235959Z\t\t{serial}\tunknown\t/CN={name}\n"));
        let issued = ["-index", "index", "-issuer", "ca.pem", "-cert", &certificate];
        let signed = ["-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key", "-ndays", "7"];
        openssl(&[&["ocsp"], &issued[..], &signed, &["-respout", file]].concat());
    }

    /// Puts `content` in the place of a file, as a program that renews certificates does.
    pub(crate) fn replace(&self, name: &str, content: &str) {
        let aside = self.folder.path().join(format!("{name}.new"));
        fs::write(&aside, content).expect("a file");
        fs::rename(aside, self.folder.path().join(name)).expect("a rename");
    }

    /// The section of a listener's certificate.
    pub(crate) fn certificate(&self, name: &str) -> String {
        let [cert, key] = ["crt", "key"].map(|end| self.path(&format!("{name}.{end}")));
        format!("[[listener.certificate]]\ncert = \"{cert}\"\nkey = \"{key}\"\n")
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.as_ref().der().clone()).expect("an authority");
        roots
    }

    /// A client that trusts this authority; it resumes sessions.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        Arc::new(builder.with_root_certificates(self.roots()).with_no_client_auth())
    }

    /// The same, showing the certificate `name`.
    pub(crate) fn client_showing(&self, name: &str) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let (chain, key) = self.identity(name);
        let client = builder.with_root_certificates(self.roots()).with_client_auth_cert(chain, key);
        Arc::new(client.expect("a certificate with its key"))
    }

    /// A server with the certificate `name`; `asks`: clients must show one of this authority's.
    pub(crate) fn server(&self, name: &str, asks: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = if asks {
            let roots = Arc::new(self.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let (chain, key) = self.identity(name);
        Arc::new(builder.with_single_cert(chain, key).expect("a certificate with its key"))
    }

    fn identity(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let at = |end: &str| PathBuf::from(self.path(&format!("{name}.{end}")));
        let chain = CertificateDer::pem_file_iter(at("crt")).expect("a file");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        (chain, PrivateKeyDer::from_pem_file(at("key")).expect("a key"))
    }
}

/// One half reads and the other writes, by turns.
struct Both<S>(Arc<Mutex<S>>);

impl<S: Read> Read for Both<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while it holds a stream").read(buf)
    }
}

/// A connection to a listener under TLS.
pub(crate) struct TlsClient {
    stream: Arc<Mutex<StreamOwned<ClientConnection, TcpStream>>>,
    reader: Reader,
}

impl TlsClient {
    /// Connects and shakes hands; what went wrong where that fails.
    pub(crate) fn connect(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE)?, config, name)
    }

    /// Shakes hands over a connection that is open.
    pub(crate) fn over(
        mut tcp: TcpStream,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        let stream = Arc::new(Mutex::new(StreamOwned::new(session, tcp)));
        let reader = Reader::new(Both(stream.clone()), |_| {});
        Ok(Self { stream, reader })
    }

    /// Looks at the session.
    pub(crate) fn session<T>(&self, look: impl FnOnce(&ClientConnection) -> T) -> T {
        look(&self.stream.lock().expect("no test panics while it holds a stream").conn)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the connection takes the bytes");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let mut stream = self.stream.lock().expect("no test panics while it holds a stream");
        stream.write_all(bytes.as_ref())?;
        stream.flush()
    }

    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    pub(crate) fn answer(&mut self) -> Message {
        let answer = self.reader.response("GET", |_| {});
        answer.unwrap_or_else(|broken| panic!("the answer is {broken}"))
    }

    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.try_get(path).unwrap_or_else(|broken| panic!("the answer is {broken}"))
    }

    pub(crate) fn try_get(&mut self, path: &str) -> Result<Message, String> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        self.try_send(request).map_err(|error| error.to_string())?;
        self.reader.response("GET", |_| {}).map_err(|broken| broken.to_string())
    }
}

/// One connection from the proxy under TLS.
pub(crate) struct TlsPeer {
    stream: Arc<Mutex<StreamOwned<ServerConnection, TcpStream>>>,
    reader: Reader,
    /// The name that the proxy asked for.
    pub(crate) name: Option<String>,
    /// Whether it went on with an earlier session.
    pub(crate) resumed: bool,
}

impl TlsPeer {
    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    pub(crate) fn request(&mut self) -> Option<Message> {
        self.reader.request().ok().flatten()
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let mut stream = self.stream.lock().expect("no test panics while it holds a stream");
        stream.write_all(bytes.as_ref())?;
        stream.flush()
    }

    /// Writes, and says in the same breath that nothing more comes.
    pub(crate) fn write_last(&mut self, bytes: impl AsRef<[u8]>) {
        let mut stream = self.stream.lock().expect("no test panics while it holds a stream");
        stream.conn.writer().write_all(bytes.as_ref()).expect("memory");
        stream.conn.send_close_notify();
        stream.flush().ok();
    }

    /// Says that nothing more comes, as TLS wants it.
    pub(crate) fn notify_close(&mut self) {
        let mut stream = self.stream.lock().expect("no test panics while it holds a stream");
        stream.conn.send_close_notify();
        stream.flush().ok();
    }
}

/// An upstream under TLS: runs `script` for each connection whose handshake succeeds. Its threads end with the test process.
pub(crate) fn upstream(
    config: Arc<ServerConfig>,
    script: impl Fn(&mut TlsPeer) + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for mut tcp in listener.incoming().map_while(Result::ok) {
            let (config, script) = (config.clone(), Arc::clone(&script));
            std::thread::spawn(move || {
                tcp.set_nodelay(true).ok();
                let mut session = ServerConnection::new(config).expect("a session");
                while session.is_handshaking() {
                    if session.complete_io(&mut tcp).is_err() {
                        return;
                    }
                }
                let name = session.server_name().map(ToOwned::to_owned);
                let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                let stream = Arc::new(Mutex::new(StreamOwned::new(session, tcp)));
                let reader = Reader::new(Both(stream.clone()), |_| {});
                script(&mut TlsPeer { stream, reader, name, resumed });
            });
        }
    });
    address
}

/// An upstream under TLS that answers each request with what `answer` makes of it.
pub(crate) fn answering(
    config: Arc<ServerConfig>,
    answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
) -> SocketAddr {
    upstream(config, move |peer| {
        while let Some(request) = peer.request() {
            if peer.write(answer(&request)).is_err() {
                return;
            }
        }
    })
}
