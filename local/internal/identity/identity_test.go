package identity_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/local/internal/identity"
)

var (
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	secret = []byte("0123456789abcdef0123456789abcdef")
)

// clock is a time that tests set.
type clock struct{ t atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	c.t.Store(&start)
	return c
}

func (c *clock) now() time.Time { return *c.t.Load() }

func (c *clock) advance(d time.Duration) {
	t := c.now().Add(d)
	c.t.Store(&t)
}

// Generating keys is slow, so the tests share them.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// jwk returns a public key in the form in which issuers publish it.
func jwk(kid string, key crypto.PublicKey) map[string]any {
	b64 := base64.RawURLEncoding.EncodeToString
	switch key := key.(type) {
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "use": "sig", "kid": kid, "n": b64(key.N.Bytes()), "e": "AQAB"}
	case *ecdsa.PublicKey:
		point := must(key.ECDH()).Bytes()[1:]
		return map[string]any{"kty": "EC", "use": "sig", "kid": kid, "crv": "P-256", "x": b64(point[:32]), "y": b64(point[32:])}
	}
	panic(fmt.Sprintf("key of type %T", key))
}

// issuer is an OpenID Connect provider.
type issuer struct {
	*httptest.Server
	mu      sync.Mutex
	keys    []map[string]any
	broken  int // the status of all responses, if not 0
	fetches int
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{keys: []map[string]any{jwk("rsa", rsaKey().Public()), jwk("ec", ecKey().Public())}}
	i.Server = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if i.broken != 0 {
		w.WriteHeader(i.broken) // the verifier must ignore the body
	}
	var doc any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		doc = map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/auth", "also": strings.Repeat("x", 2000),
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"},
		}
	case "/keys":
		i.fetches++
		doc = map[string]any{"keys": i.keys}
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(doc)
}

func (i *issuer) set(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *issuer) fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

func newVerifier(t *testing.T, opts identity.Options) *identity.Verifier {
	t.Helper()
	if opts.Now == nil {
		opts.Now = newClock().now
	}
	v, err := identity.New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

type claims = map[string]any

// with returns the claims of a good token with the given changes; nil removes a claim.
func with(change claims) claims {
	c := claims{"sub": "u1", "aud": "shop", "iat": start.Unix(), "exp": start.Add(time.Hour).Unix()}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// bySecret signs with a different library from the one that verifies.
func bySecret(key []byte, c claims) string {
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, nil))
	return must(must(signer.Sign(must(json.Marshal(c)))).CompactSerialize())
}

// byKey signs with a different library from the one that verifies.
func byKey(method jwt.SigningMethod, kid string, key any, c claims) string {
	t := jwt.NewWithClaims(method, jwt.MapClaims(c))
	t.Header["kid"] = kid
	return must(t.SignedString(key))
}

func request(header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/graphql", http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func bearer(token string) *http.Request { return request("Authorization", "Bearer "+token) }

// wantRefused checks the error for bad credentials: it names the reason and has no
// part of the token.
func wantRefused(t *testing.T, who authz.Caller, err error, token, reason string) {
	t.Helper()
	if !reflect.DeepEqual(who, authz.Caller{}) {
		t.Errorf("got the caller %+v with the error %v, want no caller", who, err)
	}
	if !errors.Is(err, identity.ErrUnauthenticated) || errors.Is(err, driver.ErrUnavailable) {
		t.Fatalf("got error %v, want ErrUnauthenticated", err)
	}
	if !strings.Contains(err.Error(), reason) {
		t.Errorf("the error does not say %q: %v", reason, err)
	}
	wantNoSecrets(t, err, token)
}

func wantNoSecrets(t *testing.T, err error, token string) {
	t.Helper()
	for _, part := range append(strings.Split(token, "."), string(secret)) {
		if len(part) > 5 && strings.Contains(err.Error(), part) {
			t.Errorf("the error has a part of the token or the secret in it: %v", err)
		}
	}
}

func wantUser(t *testing.T, who authz.Caller, err error, user string) {
	t.Helper()
	if err != nil || who.User != user {
		t.Fatalf("got %+v, error %v; want user %q", who, err, user)
	}
}

// tampered replaces the payload of a signed token.
func tampered(token string, c claims) string {
	p := strings.Split(token, ".")
	p[1] = base64.RawURLEncoding.EncodeToString(must(json.Marshal(c)))
	return strings.Join(p, ".")
}

// header returns a token with the given header and no signature.
func header(h string, c claims) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(h)) + "." + b64(must(json.Marshal(c))) + "."
}

func TestTokens(t *testing.T) {
	t.Parallel()
	is := newIssuer(t)
	rs := func(c claims) string { return byKey(jwt.SigningMethodRS256, "rsa", rsaKey(), c) }
	es := func(c claims) string { return byKey(jwt.SigningMethodES256, "ec", ecKey(), c) }
	hs := func(c claims) string { return bySecret(secret, c) }
	iss := func(c claims) claims {
		if _, has := c["iss"]; !has {
			c["iss"] = is.URL
		}
		return with(c)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(rsaKey().Public()))})
	who := func(roles ...string) authz.Caller {
		return authz.Caller{User: "u1", Roles: roles, Expires: start.Add(time.Hour)}
	}
	in := func(d time.Duration) int64 { return start.Add(d).Unix() }

	tests := []struct {
		name    string
		token   string
		want    authz.Caller
		refused string // a part of the reason, or empty
	}{
		{"HS256", hs(with(nil)), who(), ""},
		{"RS256", rs(iss(claims{})), who(), ""},
		{"ES256", es(iss(claims{})), who(), ""},
		{"HS256, of another issuer", hs(with(claims{"iss": "us"})), who(), ""},
		{"audience in a list", hs(with(claims{"aud": []string{"a", "shop"}})), who(), ""},

		{"roles in a list", hs(with(claims{"roles": []string{"Admin", "Sales team"}})), who("Admin", "Sales team"), ""},
		{"roles in a string", es(iss(claims{"roles": "Admin  Sales"})), who("Admin", "Sales"), ""},
		{"no roles in a list", hs(with(claims{"roles": []string{}})), who(), ""},
		{"an empty role", hs(with(claims{"roles": []string{"", "Sales"}})), who("Sales"), ""},
		{"roles of null", hs(with(claims{"roles": json.RawMessage("null")})), who(), ""},
		{"roles of numbers", hs(with(claims{"roles": []int{1}})), authz.Caller{}, "claim roles is neither"},

		{"expires in a second", hs(with(claims{"exp": in(time.Second)})), authz.Caller{User: "u1", Expires: start.Add(time.Second)}, ""},
		{"expires in half a second", rs(iss(claims{"exp": float64(start.Unix()) + .5})), authz.Caller{User: "u1", Expires: start.Add(time.Second / 2)}, ""},
		{"expires now", hs(with(claims{"exp": in(0)})), authz.Caller{}, "expired"},
		{"expired", rs(iss(claims{"exp": in(-time.Hour)})), authz.Caller{}, "expired"},
		{"never expires", hs(with(claims{"exp": nil})), authz.Caller{}, "no claim exp"},
		{"expires by a string", hs(with(claims{"exp": "tomorrow"})), authz.Caller{}, "exp is not a time"},
		{"expires beyond all time", hs(with(claims{"exp": 1e300})), authz.Caller{}, "exp is not a time"},
		{"valid in 30 s", hs(with(claims{"nbf": in(30 * time.Second)})), who(), ""},
		{"valid in 31 s", hs(with(claims{"nbf": in(31 * time.Second)})), authz.Caller{}, "nbf"},
		{"valid at some time", hs(with(claims{"nbf": true})), authz.Caller{}, "nbf is not a time"},
		{"issued in 31 s", hs(with(claims{"iat": in(31 * time.Second)})), authz.Caller{}, "iat"},
		{"issued at no time", hs(with(claims{"iat": nil})), who(), ""},

		{"wrong audience", hs(with(claims{"aud": "bank"})), authz.Caller{}, `audience "shop"`},
		{"no audience", rs(iss(claims{"aud": nil})), authz.Caller{}, `audience "shop"`},
		{"wrong issuer", rs(iss(claims{"iss": "https://evil.example"})), authz.Caller{}, "issuer is not"},
		{"issuer with a slash more", rs(iss(claims{"iss": is.URL + "/"})), authz.Caller{}, "issuer is not"},
		{"no issuer", rs(with(nil)), authz.Caller{}, "issuer is not"},
		{"the secret in the issuer's name", hs(iss(claims{})), authz.Caller{}, "signed with the secret"},

		{"no sub", hs(with(claims{"sub": nil})), authz.Caller{}, "no claim sub"},
		{"empty sub", hs(with(claims{"sub": ""})), authz.Caller{}, "no claim sub"},
		{"sub of a number", hs(with(claims{"sub": 7})), authz.Caller{}, "no claim sub"},
		{"sub of 257 bytes", hs(with(claims{"sub": strings.Repeat("x", 257)})), authz.Caller{}, "257 bytes"},
		{"sub with a line break", hs(with(claims{"sub": "a\nb"})), authz.Caller{}, "control"},

		{"alg none", header(`{"alg":"none","typ":"JWT"}`, with(nil)), authz.Caller{}, "HS256, RS256, ES256"},
		{"HS256 without a signature", header(`{"alg":"HS256"}`, with(nil)), authz.Caller{}, "not signed with the secret"},
		{"RS256 without a signature", header(`{"alg":"RS256","kid":"rsa"}`, iss(claims{})), authz.Caller{}, "not signed with a key"},
		{"two algs", header(`{"alg":"none","ALG":"HS256"}`, with(nil)), authz.Caller{}, "HS256, RS256, ES256"},
		{"the public key as a secret", bySecret(publicPEM, iss(claims{})), authz.Caller{}, "not signed with the secret"},
		{"another secret", bySecret(append([]byte("x"), secret...), with(nil)), authz.Caller{}, "not signed with the secret"},
		{"an algorithm that the issuer does not use", byKey(jwt.SigningMethodPS256, "rsa", rsaKey(), iss(claims{})), authz.Caller{}, "HS256, RS256, ES256"},
		{"another key by the same name", byKey(jwt.SigningMethodRS256, "rsa", otherRSA(), iss(claims{})), authz.Caller{}, "not signed with a key"},
		{"tampered, HS256", tampered(hs(with(nil)), with(claims{"roles": "Admin"})), authz.Caller{}, "not signed with the secret"},
		{"an extension that must be understood", header(`{"alg":"HS256","crit":["x"],"x":1}`, with(nil)), authz.Caller{}, "extension"},

		{"empty", "", authz.Caller{}, "not a JSON Web Token"},
		{"two parts", "e30.e30", authz.Caller{}, "not a JSON Web Token"},
		{"a list as header", base64.RawURLEncoding.EncodeToString([]byte(`[1]`)) + ".e30.", authz.Caller{}, "not a JSON Web Token"},
		{"oversize", hs(with(claims{"roles": strings.Repeat("r", 16<<10)})), authz.Caller{}, "over the limit"},
	}
	v := newVerifier(t, identity.Options{Secret: secret, Issuer: is.URL, Audience: "shop"})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check := func(got authz.Caller, err error) {
				t.Helper()
				if tt.refused != "" {
					wantRefused(t, got, err, tt.token, tt.refused)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
			}
			check(v.Request(bearer(tt.token)))
			check(v.Payload(map[string]any{"authorization": "Bearer " + tt.token}, request()))
		})
	}
	// Last, because it makes the verifier fetch the keys again.
	token := tampered(rs(iss(claims{})), iss(claims{"roles": "Admin"}))
	got, err := v.Request(bearer(token))
	wantRefused(t, got, err, token, "not signed with a key")
}

func TestDisabledCredentials(t *testing.T) {
	t.Parallel()
	is := newIssuer(t)
	hs := bySecret(secret, with(nil))
	rs := byKey(jwt.SigningMethodRS256, "rsa", rsaKey(), with(claims{"iss": is.URL}))

	secretOnly := newVerifier(t, identity.Options{Secret: secret})
	who, err := secretOnly.Request(bearer(rs))
	wantRefused(t, who, err, rs, "HS256")
	who, err = secretOnly.Request(bearer(bySecret(secret, with(claims{"aud": "others"}))))
	wantUser(t, who, err, "u1")

	issuerOnly := newVerifier(t, identity.Options{Issuer: is.URL, Audience: "shop"})
	who, err = issuerOnly.Request(bearer(hs))
	wantRefused(t, who, err, hs, "RS256, ES256")
	emptyKey := header(`{"alg":"HS256"}`, with(nil))
	who, err = issuerOnly.Request(bearer(emptyKey))
	wantRefused(t, who, err, emptyKey, "RS256, ES256")

	who, err = newVerifier(t, identity.Options{DevUsers: true}).Request(bearer(hs))
	wantRefused(t, who, err, hs, "tokens are not accepted")
}

func TestRolesClaim(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path   string
		claims claims
		want   []string
	}{
		{"", claims{"roles": "A"}, []string{"A"}},
		{"realm_access.roles", claims{"realm_access": claims{"roles": []string{"A", "B"}}}, []string{"A", "B"}},
		{"resource_access.my.shop.roles", claims{"resource_access": claims{"my.shop": claims{"roles": []string{"A"}}}}, []string{"A"}},
		{"cognito:groups", claims{"cognito:groups": []string{"A"}}, []string{"A"}},
		{"https://shop.example/roles", claims{"https://shop.example/roles": []string{"A"}}, []string{"A"}},
		{"a.b", claims{"a.b": "A", "a": claims{"b": "B"}}, []string{"A"}},
		{"a.b", claims{"a": "A", "b": "B"}, nil},
		{"a.b", claims{"a": claims{"c": "A"}}, nil},
		{"a.", claims{"a": claims{"": "A"}}, []string{"A"}},
		{"scope", claims{"roles": "A"}, nil},
	}
	for _, tt := range tests {
		v := newVerifier(t, identity.Options{Secret: secret, RolesClaim: tt.path})
		who, err := v.Request(bearer(bySecret(secret, with(tt.claims))))
		wantUser(t, who, err, "u1")
		if !reflect.DeepEqual(who.Roles, tt.want) {
			t.Errorf("claim %q of %v: got roles %q, want %q", tt.path, tt.claims, who.Roles, tt.want)
		}
	}
}

func TestHeadersAndPayloads(t *testing.T) {
	t.Parallel()
	on := newVerifier(t, identity.Options{DevUsers: true, Secret: secret})
	off := newVerifier(t, identity.Options{Secret: secret})
	token := bySecret(secret, with(nil))
	nobody := authz.Caller{}
	user := authz.Caller{User: "user"}
	admin := authz.Caller{User: "admin", Roles: []string{"Admin"}}
	u1 := authz.Caller{User: "u1", Expires: start.Add(time.Hour)}

	tests := []struct {
		name    string
		v       *identity.Verifier
		header  []string
		want    authz.Caller
		refused string
	}{
		{"nothing", on, nil, nobody, ""},
		{"nothing, dev users off", off, nil, nobody, ""},
		{"user", on, []string{"X-User", "user"}, user, ""},
		{"admin", on, []string{"X-User", "admin"}, admin, ""},
		{"Admin", on, []string{"X-User", "Admin"}, nobody, "neither user nor admin"},
		{"empty user", on, []string{"X-User", ""}, nobody, "neither user nor admin"},
		{"two users", on, []string{"X-User", "user", "X-User", "admin"}, nobody, "more than once"},
		{"user while off", off, []string{"X-User", "user"}, nobody, "dev users are off"},
		{"empty user while off", off, []string{"X-User", ""}, nobody, "dev users are off"},
		{"bearer", on, []string{"Authorization", "Bearer " + token}, u1, ""},
		{"bearer in small letters", off, []string{"Authorization", "bearer  " + token + " "}, u1, ""},
		{"no value", off, []string{"Authorization", ""}, nobody, ""},
		{"an empty value and a user", on, []string{"Authorization", "", "X-User", "user"}, user, ""},
		{"both", on, []string{"Authorization", "Bearer " + token, "X-User", "user"}, nobody, "both"},
		{"two tokens", off, []string{"Authorization", "Bearer " + token, "Authorization", "Bearer " + token}, nobody, "more than once"},
		{"scheme only", off, []string{"Authorization", "Bearer"}, nobody, "not a JSON Web Token"},
		{"token only", off, []string{"Authorization", token}, nobody, "Bearer TOKEN"},
		{"another scheme", off, []string{"Authorization", "Basic dXNlcjpwYXNz"}, nobody, "Bearer TOKEN"},
		{"oversize", off, []string{"Authorization", strings.Repeat("x", 16<<10+1)}, nobody, "over the limit"},
		{"oversize user", on, []string{"X-User", strings.Repeat("x", 16<<10+1)}, nobody, "over the limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			payload := map[string]any{}
			for i := 0; i < len(tt.header); i += 2 {
				name := tt.header[i]
				if _, has := payload[name]; has {
					name = strings.ToLower(name)
				}
				payload[name] = tt.header[i+1]
			}
			check := func(how string, who authz.Caller, err error) {
				t.Helper()
				if tt.refused != "" {
					wantRefused(t, who, err, token, tt.refused)
				} else if err != nil || !reflect.DeepEqual(who, tt.want) {
					t.Errorf("%s: got %+v, error %v; want %+v", how, who, err, tt.want)
				}
			}
			who, err := tt.v.Request(request(tt.header...))
			check("headers", who, err)
			who, err = tt.v.Payload(payload, request())
			check("payload", who, err)
			who, err = tt.v.Payload(map[string]any{"theme": "dark", "authorization": nil}, request(tt.header...))
			check("headers behind a payload", who, err)
			who, err = tt.v.Payload(nil, request(tt.header...))
			check("headers without a payload", who, err)
		})
	}

	who, err := on.Payload(map[string]any{"x-user": "user"}, request("Authorization", "Bearer "+token))
	wantUser(t, who, err, "user")
	who, err = on.Payload(map[string]any{"x-user": 7.0}, request())
	wantRefused(t, who, err, token, "x-user is not a string")
	who, err = on.Payload(map[string]any{"Authorization": []any{token}}, request("X-User", "admin"))
	wantRefused(t, who, err, token, "authorization is not a string")
	// The base64 decoder skips line breaks, which a payload can contain and a header cannot.
	broken := token[:10] + "\n" + token[10:]
	who, err = off.Payload(map[string]any{"authorization": "Bearer " + broken}, request())
	wantRefused(t, who, err, broken, "not a JSON Web Token")
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	is := newIssuer(t)
	v := newVerifier(t, identity.Options{Issuer: is.URL, Audience: "shop"})
	old := byKey(jwt.SigningMethodRS256, "rsa", rsaKey(), with(claims{"iss": is.URL}))
	next := byKey(jwt.SigningMethodRS256, "rsa2", otherRSA(), with(claims{"iss": is.URL}))

	for range 3 {
		who, err := v.Request(bearer(old))
		wantUser(t, who, err, "u1")
	}
	if n := is.fetched(); n != 1 {
		t.Errorf("the keys were fetched %d times, want once, at the start", n)
	}
	who, err := v.Request(bearer(next))
	wantRefused(t, who, err, next, "not signed with a key")

	is.set(func() { is.keys = []map[string]any{jwk("rsa2", otherRSA().Public())} })
	who, err = v.Request(bearer(next))
	wantUser(t, who, err, "u1")
	if n := is.fetched(); n != 3 {
		t.Errorf("the keys were fetched %d times, want 3", n)
	}
	who, err = v.Request(bearer(old))
	wantRefused(t, who, err, old, "not signed with a key")
}

// Issuers also publish keys for other purposes. The verifier ignores them.
func TestKeysOfOtherKinds(t *testing.T) {
	t.Parallel()
	is := newIssuer(t)
	oct := map[string]any{"kty": "oct", "kid": "oct", "k": base64.RawURLEncoding.EncodeToString(secret)}
	enc, other := jwk("enc", otherRSA().Public()), jwk("rs512", otherRSA().Public())
	enc["use"], other["alg"] = "enc", "RS512"
	is.set(func() {
		is.keys = append([]map[string]any{nil, oct, enc, other, {"kty": "OKP", "crv": "Ed448", "x": "AA"}, {"kty": "new"}, {}}, is.keys...)
	})
	v := newVerifier(t, identity.Options{Issuer: is.URL, Audience: "shop"})
	c := with(claims{"iss": is.URL})
	for _, kid := range []string{"ec", ""} {
		who, err := v.Request(bearer(byKey(jwt.SigningMethodES256, kid, ecKey(), c)))
		wantUser(t, who, err, "u1")
	}
	for name, token := range map[string]string{
		"a shared secret":           byKey(jwt.SigningMethodHS256, "oct", secret, c),
		"a key for encryption":      byKey(jwt.SigningMethodRS256, "enc", otherRSA(), c),
		"a key of another alg":      byKey(jwt.SigningMethodRS256, "rs512", otherRSA(), c),
		"any key for encryption":    byKey(jwt.SigningMethodRS256, "", otherRSA(), c),
		"another key's name":        byKey(jwt.SigningMethodES256, "rsa", ecKey(), c),
		"a key in the token itself": withKeyInside(c),
	} {
		t.Run(name, func(t *testing.T) {
			who, err := v.Request(bearer(token))
			wantRefused(t, who, err, token, "")
		})
	}
}

// withKeyInside signs with a key that the header of the token contains.
func withKeyInside(c claims) string {
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(c))
	t.Header["jwk"] = jwk("", otherRSA().Public())
	return must(t.SignedString(otherRSA()))
}

// slowIssuer returns an issuer without a network for tests in a bubble. Its responses
// take the delay.
func slowIssuer() (*issuer, *atomic.Int64, identity.Options) {
	is := &issuer{Server: &httptest.Server{URL: "https://issuer.example"}, keys: []map[string]any{jwk("ec", ecKey().Public())}}
	delay := &atomic.Int64{}
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(time.Duration(delay.Load())):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		w := httptest.NewRecorder()
		is.serve(w, r)
		return w.Result(), nil
	})}
	return is, delay, identity.Options{Issuer: is.URL, Audience: "shop", Client: client}
}

// The keys are fetched once for all callers that wait for them. A caller that cancels
// does not cancel the fetch for the others.
func TestCallersShareAFetch(t *testing.T) {
	t.Parallel()
	_, _ = rsaKey(), ecKey()
	synctest.Test(t, func(t *testing.T) {
		is, delay, opts := slowIssuer()
		v := newVerifier(t, opts)
		delay.Store(int64(5 * time.Second))
		is.set(func() { is.keys = append(is.keys, jwk("rsa", rsaKey().Public())) })
		r := bearer(byKey(jwt.SigningMethodRS256, "rsa", rsaKey(), with(claims{"iss": is.URL})))

		gone, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if i > 0 {
					time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble: the first one is fetching then
				}
				mine := r
				if i < 2 {
					mine = r.WithContext(gone)
				}
				switch who, err := v.Request(mine); {
				case i == 1 && !errors.Is(err, driver.ErrUnavailable):
					t.Errorf("the caller that cancelled got %+v, error %v; want ErrUnavailable", who, err)
				case i > 1 && (err != nil || who.User != "u1"):
					t.Errorf("got %+v, error %v; want user u1", who, err)
				}
			})
		}
		time.AfterFunc(2*time.Second, leave)
		wg.Wait()
		if n := is.fetched(); n != 2 {
			t.Errorf("the keys were fetched %d times, want 2", n)
		}
	})
}

func TestForgedTokensDoNotFloodTheIssuer(t *testing.T) {
	t.Parallel()
	is, clk := newIssuer(t), newClock()
	v := newVerifier(t, identity.Options{Issuer: is.URL, Audience: "shop", Now: clk.now})
	good := byKey(jwt.SigningMethodES256, "ec", ecKey(), with(claims{"iss": is.URL}))
	forged := byKey(jwt.SigningMethodRS256, "nobody", otherRSA(), with(claims{"iss": is.URL}))
	for range 50 {
		who, err := v.Request(bearer(forged))
		wantRefused(t, who, err, forged, "not signed with a key")
		who, err = v.Request(bearer(good))
		wantUser(t, who, err, "u1")
	}
	burst := is.fetched()
	if burst > 5 {
		t.Errorf("50 forged tokens caused %d fetches of the keys, want at most 5", burst)
	}
	// A new key is found after the limit has passed.
	is.set(func() { is.keys = append(is.keys, jwk("nobody", otherRSA().Public())) })
	clk.advance(5 * time.Second)
	who, err := v.Request(bearer(forged))
	wantUser(t, who, err, "u1")
	if n := is.fetched(); n != burst+1 {
		t.Errorf("the keys were fetched %d times, want %d", n, burst+1)
	}
	// It is also found when the clock was set back.
	clk.advance(-24 * time.Hour)
	third := byKey(jwt.SigningMethodES256, "ec3", ecKey(), with(claims{"iss": is.URL, "iat": nil}))
	is.set(func() { is.keys = append(is.keys, jwk("ec3", ecKey().Public())) })
	who, err = v.Request(bearer(third))
	wantUser(t, who, err, "u1")
}

func TestIssuerIsUnavailable(t *testing.T) {
	t.Parallel()
	is, clk := newIssuer(t), newClock()
	v := newVerifier(t, identity.Options{Issuer: is.URL, Audience: "shop", Now: clk.now, Secret: secret})
	known := byKey(jwt.SigningMethodRS256, "rsa", rsaKey(), with(claims{"iss": is.URL}))
	unknown := byKey(jwt.SigningMethodRS256, "rsa2", otherRSA(), with(claims{"iss": is.URL}))
	wantUnavailable := func() {
		t.Helper()
		who, err := v.Request(bearer(unknown))
		if !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, identity.ErrUnauthenticated) {
			t.Fatalf("got %+v, error %v; want ErrUnavailable", who, err)
		}
		if !strings.Contains(err.Error(), is.URL) || len(err.Error()) > 1000 {
			t.Errorf("the error does not name the issuer in brief: %v", err)
		}
		wantNoSecrets(t, err, unknown)
		// Tokens that need no new keys are still accepted.
		who, err = v.Request(bearer(known))
		wantUser(t, who, err, "u1")
		who, err = v.Request(bearer(bySecret(secret, with(nil))))
		wantUser(t, who, err, "u1")
	}
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusNotFound} {
		is.set(func() {
			is.broken, is.keys = status, []map[string]any{jwk("rsa2", otherRSA().Public())}
		})
		wantUnavailable()
	}
	huge := jwk("rsa2", otherRSA().Public())
	huge["also"] = strings.Repeat("x", 1<<20)
	for _, keys := range [][]map[string]any{nil, {huge}, {{"kty": "oct", "kid": "rsa2", "k": "AA"}}, {{"kty": "RSA", "kid": "rsa2", "n": 1}}} {
		clk.advance(time.Minute)
		is.set(func() { is.broken, is.keys = 0, keys })
		wantUnavailable()
	}
	for range 10 { // the last ones send no request
		wantUnavailable()
	}
	clk.advance(time.Minute)
	is.Close()
	for range 10 {
		wantUnavailable()
	}
}

// An issuer that does not answer does not block a request for ever, whatever the
// client and the context are.
func TestIssuerHangs(t *testing.T) {
	t.Parallel()
	_, _ = rsaKey(), ecKey() // generated outside the bubble, because all tests use them
	synctest.Test(t, func(t *testing.T) {
		is, delay, opts := slowIssuer()
		v := newVerifier(t, opts)
		delay.Store(int64(24 * time.Hour))
		began := time.Now()
		who, err := v.Request(bearer(byKey(jwt.SigningMethodRS256, "rsa", rsaKey(), with(claims{"iss": is.URL}))))
		if waited := time.Since(began); !errors.Is(err, driver.ErrUnavailable) || waited > time.Minute {
			t.Errorf("got %+v, error %v, after %v; want ErrUnavailable within a minute", who, err, waited)
		}
		if opts.Client.Timeout != 0 {
			t.Errorf("the verifier set the timeout of the caller's client to %v", opts.Client.Timeout)
		}
		if _, err = identity.New(t.Context(), opts); !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("New: got error %v, want ErrUnavailable", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	is := newIssuer(t)
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("<p>welcome"), 10000))
	}))
	t.Cleanup(html.Close)
	keyless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/openid-configuration" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"issuer":"http://%s","jwks_uri":"http://%s/keys"}`, r.Host, r.Host)
	}))
	t.Cleanup(keyless.Close)

	broken := newIssuer(t)
	broken.broken = http.StatusServiceUnavailable

	tests := []struct {
		name        string
		opts        identity.Options
		says        string
		unavailable bool
	}{
		{"short secret", identity.Options{Secret: secret[:31]}, "31 bytes", false},
		{"issuer without audience", identity.Options{Issuer: is.URL}, "audience", false},
		{"issuer that is no URL", identity.Options{Issuer: "login.example.com", Audience: "shop"}, "URL", false},
		{"issuer that is a file", identity.Options{Issuer: "file:///etc/passwd", Audience: "shop"}, "URL", false},
		{"issuer of another name", identity.Options{Issuer: is.URL + "/", Audience: "shop"}, "did not match", false},
		{"issuer that is down", identity.Options{Issuer: down.URL, Audience: "shop"}, down.URL, true},
		{"issuer that is out of order", identity.Options{Issuer: broken.URL, Audience: "shop"}, "503", false},
		{"issuer that is a web site", identity.Options{Issuer: html.URL, Audience: "shop"}, html.URL, false},
		{"path without an issuer", identity.Options{Issuer: is.URL + "/tenant", Audience: "shop"}, "404", false},
		{"issuer without keys", identity.Options{Issuer: keyless.URL, Audience: "shop"}, "keys of issuer", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := identity.New(t.Context(), tt.opts)
			if err == nil {
				t.Fatal("got no error")
			}
			if !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 1000 {
				t.Errorf("the error does not say %q in brief: %v", tt.says, err)
			}
			if got := errors.Is(err, driver.ErrUnavailable); got != tt.unavailable {
				t.Errorf("unavailable is %v, want %v: %v", got, tt.unavailable, err)
			}
			wantNoSecrets(t, err, "")
		})
	}
}

func TestSecretIsCopied(t *testing.T) {
	t.Parallel()
	mine := bytes.Clone(secret)
	v := newVerifier(t, identity.Options{Secret: mine})
	clear(mine)
	who, err := v.Request(bearer(bySecret(secret, with(nil))))
	wantUser(t, who, err, "u1")
}
