# A provider of OpenID Connect on Python's own HTTP server and PyJWT: it holds clients to what the specifications say.
import base64, hashlib, json, secrets, sys, threading, time, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

CLIENT, SECRET = sys.argv[1:3]
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
LOCK = threading.Lock()
WISH = {"claims": {}, "lasts": 600, "refresh": True, "down": [], "forge": False, "end_session": True, "error": None, "iss": None, "post": False, "id": True, "hold": []}
SEEN = {"authorize": [], "token": [], "logout": [], "discovery": 0, "held": 0}
CODES, REFRESH = {}, {}


def id_token(nonce):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": CLIENT, "sub": "u-19", "iat": now, "exp": now + WISH["lasts"], "name": "Ada", "roles": ["staff"]}
    if nonce is not None:
        claims["nonce"] = nonce
    claims.update(WISH["claims"])
    return jwt.encode(claims, OTHER if WISH["forge"] else KEY, algorithm="ES256", headers={"kid": "k-1"})


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, content=None, fields=()):
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def form(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()

    def do_GET(self):
        with LOCK:
            self.answer(urllib.parse.urlsplit(self.path), None)

    def do_POST(self):
        form, url = self.form(), urllib.parse.urlsplit(self.path)
        if url.path in WISH["hold"]:
            with LOCK:
                SEEN["held"] += 1
            while url.path in WISH["hold"]:
                time.sleep(0.01)
        with LOCK:
            self.answer(url, form)

    def answer(self, url, form):
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/-/wish":
            WISH.update(json.loads(form))
            self.send(200, {})
        elif url.path == "/-/seen":
            self.send(200, SEEN)
        elif url.path in WISH["down"]:
            self.send(500)
        elif url.path == "/.well-known/openid-configuration":
            SEEN["discovery"] += 1
            self.send(200, self.discovery())
        elif url.path == "/keys":
            key = json.loads(ECAlgorithm.to_jwk(KEY.public_key()))
            key.pop("key_ops", None)
            self.send(200, {"keys": [{**key, "kid": "k-1", "use": "sig"}]})
        elif url.path == "/authorize":
            SEEN["authorize"].append(query)
            back = {"state": query["state"]}
            if WISH["error"]:
                back["error"] = WISH["error"]
            else:
                back["code"] = secrets.token_urlsafe(8)
                CODES[back["code"]] = query
            if WISH["iss"]:
                back["iss"] = WISH["iss"]
            mark = "&" if "?" in query["redirect_uri"] else "?"
            self.send(302, fields=[("Location", query["redirect_uri"] + mark + urllib.parse.urlencode(back))])
        elif url.path == "/token" and form is not None:
            self.token(dict(urllib.parse.parse_qsl(form)))
        elif url.path == "/logout":
            SEEN["logout"].append(query)
            self.send(302, fields=[("Location", query["post_logout_redirect_uri"])])
        else:
            self.send(404)

    def discovery(self):
        document = {"issuer": ISSUER, "jwks_uri": ISSUER + "/keys", "authorization_endpoint": ISSUER + "/authorize?tenant=a", "token_endpoint": ISSUER + "/token"}
        if WISH["end_session"]:
            document["end_session_endpoint"] = ISSUER + "/logout"
        if WISH["post"]:
            document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        if WISH["iss"]:
            document["authorization_response_iss_parameter_supported"] = True
        return document

    def known(self, form):
        kind, _, shown = (self.headers.get("Authorization") or "").partition(" ")
        if kind == "Basic":
            name, _, secret = base64.b64decode(shown).decode().partition(":")
            return (urllib.parse.unquote_plus(name), urllib.parse.unquote_plus(secret)) == (CLIENT, SECRET) and not WISH["post"]
        return (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET) and WISH["post"]

    def token(self, form):
        SEEN["token"].append(form)
        if not self.known(form):
            return self.send(401, {"error": "invalid_client"})
        if form["grant_type"] == "authorization_code":
            asked = CODES.pop(form["code"], None)
            challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
            if not asked or asked["redirect_uri"] != form["redirect_uri"] or asked["code_challenge_method"] != "S256" or asked["code_challenge"] != challenge:
                return self.send(400, {"error": "invalid_grant"})
            nonce = asked["nonce"]
        else:
            nonce = None
            if REFRESH.pop(form["refresh_token"], None) is None:
                return self.send(400, {"error": "invalid_grant"})
        given = {"access_token": secrets.token_urlsafe(8), "token_type": "Bearer", "expires_in": WISH["lasts"]}
        if WISH["id"]:
            given["id_token"] = id_token(nonce)
        if WISH["refresh"]:
            # Each is good for once.
            given["refresh_token"] = secrets.token_urlsafe(8)
            REFRESH[given["refresh_token"]] = True
        self.send(200, given)


server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
ISSUER = "http://127.0.0.1:%d" % server.server_port
print(server.server_port, flush=True)
server.serve_forever()
