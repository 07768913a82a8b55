//! A visitor: an HTTPS client with a cookie jar and one keep-alive connection.
//!
//! `get` asks as a script does, `page` as a browser that loads a page.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::form::Form;
use super::socket::{Protocol, tls};
use super::{Answer, PASSWORD, Upload, block_on};

/// A visitor with cookies of their own.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    protocol: Protocol,
    host: String,
    from: IpAddr,
    headers: HeaderMap,
    cookies: RefCell<BTreeMap<String, String>>,
    /// The names of the cookies that outlive the browser.
    lasting: RefCell<BTreeSet<String>>,
    connection: RefCell<Option<Connection>>,
    certificate: RefCell<Option<CertificateDer<'static>>>,
}

#[derive(Debug)]
enum Connection {
    One(http1::SendRequest<Upload>),
    Two(http2::SendRequest<Upload>),
}

/// A request in the making.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ask<'a> {
    client: &'a Client,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Upload,
}

/// A response whose body is still under way.
#[derive(Debug)]
pub(crate) struct Streaming {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, roots: Arc<RootCertStore>) -> Self {
        Self {
            address,
            roots,
            protocol: Protocol::Http1,
            host: "localhost".to_owned(),
            from: Ipv4Addr::LOCALHOST.into(),
            headers: HeaderMap::new(),
            cookies: RefCell::default(),
            lasting: RefCell::default(),
            connection: RefCell::default(),
            certificate: RefCell::default(),
        }
    }

    /// Speaks HTTP/2 from now on.
    pub(crate) fn over_h2(mut self) -> Self {
        self.protocol = Protocol::Http2;
        self.reconnected()
    }

    /// Asks for this host name, in SNI and in `Host`.
    pub(crate) fn at(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self.reconnected()
    }

    /// Comes from this address.
    pub(crate) fn from(mut self, address: &str) -> Self {
        self.from = address.parse().expect("an address");
        self.reconnected()
    }

    /// Sends this header with every request that has no other of that name.
    pub(crate) fn always(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    fn reconnected(self) -> Self {
        self.hang_up();
        self
    }

    /// Closes the connection; the next request opens another.
    pub(crate) fn hang_up(&self) {
        self.connection.take();
    }

    /// Another visitor with the same cookies and a connection of their own: a second tab.
    pub(crate) fn second_tab(&self) -> Self {
        let mut tab = Self::new(self.address, Arc::clone(&self.roots));
        (tab.protocol, tab.host, tab.from) = (self.protocol, self.host.clone(), self.from);
        tab.headers.clone_from(&self.headers);
        tab.cookies.clone_from(&self.cookies);
        tab.lasting.clone_from(&self.lasting);
        tab
    }

    /// The same browser after it was closed and opened again: only cookies with a lifetime are left.
    pub(crate) fn reopened(&self) -> Self {
        let browser = self.second_tab();
        browser.cookies.borrow_mut().retain(|name, _| self.lasting.borrow().contains(name));
        browser
    }

    /// The same visitor at another gateway (after a restart, on another node).
    pub(crate) fn moved_to(&self, address: SocketAddr) -> Self {
        let mut moved = self.second_tab();
        moved.address = address;
        moved
    }

    /// `host:port` as a browser shows it.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.address.port())
    }

    pub(crate) fn origin(&self) -> String {
        format!("https://{}", self.authority())
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.borrow().get(name).cloned()
    }

    /// The value of the session cookie.
    pub(crate) fn session_cookie(&self) -> Option<String> {
        self.cookie(SESSION_COOKIE)
    }

    /// The names of all its cookies.
    pub(crate) fn cookie_names(&self) -> Vec<String> {
        self.cookies.borrow().keys().cloned().collect()
    }

    pub(crate) fn put_cookie(&self, name: &str, value: &str) {
        self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
    }

    /// The cookies of its session, as they stand in a request.
    pub(crate) fn session_line(&self) -> String {
        let cookies = self.cookies.borrow();
        let ours = cookies.iter().filter(|(name, _)| is_of_session(name));
        ours.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn forget_cookies(&self) {
        self.cookies.borrow_mut().clear();
    }

    /// The certificate that the gateway showed on the last new connection.
    pub(crate) fn certificate_seen(&self) -> Option<Vec<u8>> {
        self.certificate.borrow().as_ref().map(|certificate| certificate.to_vec())
    }

    pub(crate) fn ask(&self, method: &str, target: &str) -> Ask<'_> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let target = target.to_owned();
        Ask { client: self, method, target, headers: HeaderMap::new(), body: Upload::none() }
    }

    /// Asks for a WebSocket on a stream of the HTTP/2 connection (RFC 8441); the answer.
    pub(crate) fn ask_for_websocket(&self, target: &str) -> Response<Incoming> {
        let mut request = self.ask("CONNECT", target).header("sec-websocket-version", "13").request();
        request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        block_on(self.exchange(request)).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// GET as a script.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask("GET", target).send()
    }

    /// GET as a browser that loads a page; follows no redirect.
    #[track_caller]
    pub(crate) fn page(&self, target: &str) -> Answer {
        self.ask("GET", target).as_page().send()
    }

    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.ask("POST", target).body(Upload::text(body)).send()
    }

    /// Sends a form as the browser does that shows it.
    #[track_caller]
    pub(crate) fn submit(&self, form: &Form, shown_at: &str) -> Answer {
        let action = if form.action.is_empty() { shown_at } else { &form.action };
        self.ask("POST", action)
            .as_page()
            .header("origin", &self.origin())
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Upload::text(form.encoded()))
            .send()
    }

    /// Loads `target`, follows to the login page and shows it; panics when no login is asked for.
    #[track_caller]
    pub(crate) fn login_page(&self, target: &str) -> (String, Answer) {
        let first = self.page(target);
        assert!(first.asks_login(), "{target} is answered {} {}", first.status, first.text());
        let place = first.location().to_owned();
        let page = self.page(&place);
        assert_eq!(page.status, 200, "{}", page.text());
        (place, page)
    }

    /// Tries to sign in on the way to `target`; the answer to the form.
    #[track_caller]
    pub(crate) fn try_login(&self, target: &str, user: &str, password: &str) -> Answer {
        let (place, page) = self.login_page(target);
        self.submit(&page.login_form().fill("text", user).fill("password", password), &place)
    }

    /// Signs in with everybody's password.
    #[track_caller]
    pub(crate) fn signed_in_as(self, user: &str) -> Self {
        let answer = self.try_login("/", user, PASSWORD);
        assert_eq!(answer.status, 303, "{}", answer.text());
        assert!(self.session_cookie().is_some(), "no session cookie in {:?}", answer.headers);
        self
    }

    /// Signs in and asks to stay so.
    #[track_caller]
    pub(crate) fn remembered_as(self, user: &str) -> Self {
        let (place, page) = self.login_page("/");
        let form = page.login_form().fill("text", user).fill("password", PASSWORD).tick();
        let answer = self.submit(&form, &place);
        assert_eq!(answer.status, 303, "{}", answer.text());
        self
    }

    /// Signs out by the form on the logout page.
    #[track_caller]
    pub(crate) fn sign_out(&self) -> Answer {
        let page = self.page(LOGOUT);
        self.submit(&page.form(), LOGOUT)
    }

    fn cookie_header(&self) -> Option<HeaderValue> {
        let cookies = self.cookies.borrow();
        let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| HeaderValue::from_str(&pairs.join("; ")).expect("cookies"))
    }

    fn keep_cookies(&self, headers: &HeaderMap) {
        let (mut cookies, mut lasting) = (self.cookies.borrow_mut(), self.lasting.borrow_mut());
        for line in headers.get_all("set-cookie") {
            let line = line.to_str().expect("a cookie line");
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').expect("a cookie");
            let attributes = attributes.to_ascii_lowercase();
            if attributes.contains("max-age=") {
                lasting.insert(name.to_owned());
            } else {
                lasting.remove(name);
            }
            if attributes.ends_with("max-age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        // Browsers do this last: what the same answer sets is gone, too.
        let cleared = headers.get("clear-site-data").and_then(|value| value.to_str().ok());
        if cleared.is_some_and(|what| what.contains("\"cookies\"") || what.contains("\"*\"")) {
            cookies.clear();
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        let io = TokioIo::new(self.handshake().await.map_err(|error| error.to_string())?);
        match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                Ok(Connection::One(sender))
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).max_header_list_size(1 << 20);
                let (sender, connection) = builder.handshake(io).await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                Ok(Connection::Two(sender))
            }
        }
    }

    async fn handshake(&self) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        let tcp = socket.connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone()).expect("a host name");
        let stream = TlsConnector::from(tls(&self.roots, self.protocol)).connect(name, tcp).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        *self.certificate.borrow_mut() = shown.map(CertificateDer::into_owned);
        Ok(stream)
    }

    async fn exchange(&self, request: Request<Upload>) -> Result<Response<Incoming>, String> {
        let connection = match self.connection.take() {
            Some(connection) if connection.is_usable() => connection,
            _ => self.connect().await?,
        };
        let mut connection = connection;
        let response = connection.send(request).await;
        *self.connection.borrow_mut() = Some(connection);
        let response = response?;
        self.keep_cookies(response.headers());
        Ok(response)
    }
}

impl Connection {
    fn is_usable(&self) -> bool {
        match self {
            Self::One(sender) => !sender.is_closed(),
            Self::Two(sender) => !sender.is_closed(),
        }
    }

    async fn send(&mut self, request: Request<Upload>) -> Result<Response<Incoming>, String> {
        match self {
            Self::One(sender) => {
                sender.ready().await.map_err(|error| error.to_string())?;
                sender.send_request(request).await.map_err(|error| error.to_string())
            }
            Self::Two(sender) => sender.send_request(request).await.map_err(|error| in_full(&error)),
        }
    }
}

/// What hyper says, and what HTTP/2 said to it.
fn in_full(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

impl Ask<'_> {
    /// With the headers of a browser that loads a page.
    pub(crate) fn as_page(self) -> Self {
        self.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
    }

    /// Adds a header line.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        self
    }

    pub(crate) fn body(mut self, body: Upload) -> Self {
        self.body = body;
        self
    }

    /// Sends and reads the whole answer.
    #[track_caller]
    pub(crate) fn send(self) -> Answer {
        self.try_send().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The same, where it may fail.
    pub(crate) fn try_send(self) -> Result<Answer, String> {
        let client = self.client;
        block_on(async {
            let response = client.exchange(self.request()).await?;
            let (head, body) = response.into_parts();
            let collected = body.collect().await.map_err(|error| format!("cut body: {error}"))?;
            let trailers = collected.trailers().cloned().unwrap_or_default();
            let body = collected.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
        })
    }

    /// Sends and reads the head of the answer.
    #[track_caller]
    pub(crate) fn stream(self) -> Streaming {
        let client = self.client;
        let response =
            block_on(client.exchange(self.request())).unwrap_or_else(|error| panic!("no answer: {error}"));
        let (head, body) = response.into_parts();
        Streaming { status: head.status.as_u16(), headers: head.headers, body }
    }

    fn request(self) -> Request<Upload> {
        let path = self.target.strip_prefix(&self.client.origin()).unwrap_or(&self.target);
        let uri: Uri = match self.client.protocol {
            Protocol::Http1 => path.parse().expect("a target"),
            Protocol::Http2 => format!("https://{}{path}", self.client.authority()).parse().expect("a URL"),
        };
        let mut request = Request::new(self.body);
        (*request.method_mut(), *request.uri_mut()) = (self.method, uri);
        if self.client.protocol == Protocol::Http1 && !self.headers.contains_key("host") {
            let host = HeaderValue::from_str(&self.client.authority()).expect("a host");
            request.headers_mut().insert("host", host);
        }
        if let Some(cookies) = self.client.cookie_header().filter(|_| !self.headers.contains_key("cookie")) {
            request.headers_mut().insert("cookie", cookies);
        }
        request.headers_mut().extend(self.client.headers.clone());
        request.headers_mut().extend(self.headers);
        request
    }
}

impl Streaming {
    /// The next piece of the body; none at its end.
    #[track_caller]
    pub(crate) fn piece(&mut self) -> Option<Bytes> {
        self.try_piece().unwrap_or_else(|error| panic!("cut body: {error}"))
    }

    /// The same, where it may be cut off.
    pub(crate) fn try_piece(&mut self) -> Result<Option<Bytes>, String> {
        block_on(async {
            loop {
                match self.body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(error.to_string()),
                    Some(Ok(frame)) => {
                        // Over HTTP/2 an empty frame may end the body; it is no piece of it.
                        if let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) {
                            return Ok(Some(data));
                        }
                    }
                }
            }
        })
    }

    /// Reads the rest of the body; the trailers behind it.
    #[track_caller]
    pub(crate) fn trailers(self) -> HeaderMap {
        let rest = block_on(self.body.collect()).unwrap_or_else(|error| panic!("cut body: {error}"));
        rest.trailers().cloned().unwrap_or_default()
    }

    /// Reads at least `bytes` bytes.
    #[track_caller]
    pub(crate) fn read(&mut self, bytes: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < bytes {
            read.extend_from_slice(&self.piece().expect("more of the body"));
        }
        read
    }

    /// Counts the rest of the body; takes as long as the bytes take.
    pub(crate) fn count(mut self) -> Result<u64, String> {
        let mut count = 0;
        while let Some(piece) = self.try_piece()? {
            count += piece.len() as u64;
        }
        Ok(count)
    }
}

/// Whether a cookie of this name holds a session or a part of one.
pub(crate) fn is_of_session(name: &str) -> bool {
    let rest = name.strip_prefix(SESSION_COOKIE);
    rest.is_some_and(|rest| rest.is_empty() || matches!(rest, "-1" | "-2" | "-3"))
}

/// The name of the session cookie, unless configured.
pub(crate) const SESSION_COOKIE: &str = "__Host-vestibule";

/// Where people sign out.
pub(crate) const LOGOUT: &str = "/.vestibule/logout";

/// Where people sign in.
pub(crate) const LOGIN: &str = "/.vestibule/login";
