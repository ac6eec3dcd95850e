package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/local/internal/identity"
)

// FuzzRequest has no bytes of a request make a panic, or a caller without a
// signature that the standard library finds right.
func FuzzRequest(f *testing.F) {
	is := &issuer{keys: []map[string]any{jwk("rsa", rsaKey().Public()), jwk("ec", ecKey().Public())}}
	is.Server = &httptest.Server{URL: "http://issuer.example"}
	v, err := identity.New(f.Context(), identity.Options{
		DevUsers: true, Secret: secret, Issuer: is.URL, Audience: "shop", Now: newClock().now,
		Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			is.serve(w, r)
			return w.Result(), nil
		})},
	})
	if err != nil {
		f.Fatal(err)
	}
	c := with(claims{"iss": is.URL, "roles": []string{"Admin"}})
	tokens := []string{
		bySecret(secret, with(nil)), bySecret(secret, c),
		byKey(jwt.SigningMethodRS256, "rsa", rsaKey(), c), byKey(jwt.SigningMethodES256, "ec", ecKey(), c),
		byKey(jwt.SigningMethodRS256, "rsa", otherRSA(), c), bySecret(rsaKey().N.Bytes(), c),
		header(`{"alg":"none"}`, c), header(`{"alg":"HS256"}`, c), tampered(bySecret(secret, with(nil)), c), "e30.e30.", "..", "",
	}
	for _, token := range tokens {
		f.Add("Bearer "+token, "", false)
	}
	f.Add("", "admin", true)
	f.Add("Basic x", "user", true)
	f.Fuzz(func(t *testing.T, authorization, user string, hasUser bool) {
		r := &http.Request{Header: http.Header{"Authorization": {authorization}}}
		payload := map[string]any{"authorization": authorization}
		if hasUser {
			r.Header["X-User"] = []string{user}
			payload["x-user"] = user
		}
		who, err := v.Request(r)
		if other, errOther := v.Payload(payload, &http.Request{}); !reflect.DeepEqual(who, other) || (err == nil) != (errOther == nil) {
			t.Errorf("headers: %+v, error %v; the same as payload: %+v, error %v", who, err, other, errOther)
		}
		switch {
		case reflect.DeepEqual(who, authz.Caller{}):
			if err == nil && (strings.Trim(authorization, " \t") != "" || hasUser) {
				t.Error("credentials count as none")
			}
		case err != nil:
			t.Errorf("got %+v together with the error %v", who, err)
		case hasUser && (strings.Trim(user, " \t") == who.User) && (who.User == "user" || who.User == "admin"):
		case !signed(authorization):
			t.Errorf("got %+v without a signature", who)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// signed verifies a token's signature by one of the keys, without any library.
func signed(authorization string) bool {
	token := authorization[strings.LastIndex(strings.TrimRight(authorization, " \t"), " ")+1:]
	token = strings.TrimRight(token, " \t")
	dot := strings.LastIndex(token, ".")
	if dot < 0 {
		return false
	}
	text := []byte(token[:dot])
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(text)
	if hmac.Equal(mac.Sum(nil), signature) {
		return true
	}
	sum := sha256.Sum256(text)
	if rsa.VerifyPKCS1v15(&rsaKey().PublicKey, crypto.SHA256, sum[:], signature) == nil {
		return true
	}
	return len(signature) == 64 &&
		ecdsa.Verify(&ecKey().PublicKey, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}
