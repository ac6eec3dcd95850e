package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"

	"github.com/reventless-go/reventless/internal/authz"
)

const (
	// leeway is how far the issuer's clock may be ahead of ours. It does not extend the
	// lifetime of a token.
	leeway = 30 * time.Second
	// maxUser bounds the user id, which becomes part of keys and rows.
	maxUser = 256
	// lastSecond is the end of the year 9999; later times have no JSON form.
	lastSecond = 253402300799
)

// token verifies a JSON Web Token. The algorithm in the token's header only selects the
// kind of key; each kind has its own list of algorithms, so that a public key is never
// used as a secret.
func (v *Verifier) token(ctx context.Context, raw string) (authz.Caller, error) {
	alg, err := algorithm(raw)
	if err != nil {
		return authz.Caller{}, err
	}
	var claims map[string]any
	byIssuer := alg != jwt.SigningMethodHS256.Alg()
	switch {
	case len(v.secret) == 0 && v.keys == nil:
		return authz.Caller{}, refused("tokens are not accepted, because neither a secret nor an issuer is configured")
	case !byIssuer && len(v.secret) > 0:
		claims, err = v.bySecret(raw)
	case byIssuer && slices.Contains(v.algorithms, alg):
		claims, err = v.byIssuer(ctx, raw)
	default:
		return authz.Caller{}, refused("the token's algorithm is not one of %s", strings.Join(v.accepted(), ", "))
	}
	if err != nil {
		return authz.Caller{}, err
	}
	return v.identity(claims, byIssuer)
}

// accepted returns the accepted algorithms.
func (v *Verifier) accepted() []string {
	if len(v.secret) > 0 {
		return append([]string{jwt.SigningMethodHS256.Alg()}, v.algorithms...)
	}
	return v.algorithms
}

// algorithm returns the algorithm in a token's header.
func algorithm(raw string) (string, error) {
	malformed := refused("the token is not a JSON Web Token")
	// The base64 decoder would ignore line breaks inside the token.
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= utf8.RuneSelf }) || strings.Count(raw, ".") != 2 {
		return "", malformed
	}
	head, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.Strict().DecodeString(head)
	if err != nil {
		return "", malformed
	}
	var header map[string]any
	if json.Unmarshal(text, &header) != nil {
		return "", malformed
	}
	// Critical extensions (RFC 7515, 4.1.11): none are supported.
	if _, has := header["crit"]; has {
		return "", refused("the token requires an unsupported extension")
	}
	alg, _ := header["alg"].(string)
	return alg, nil
}

func (v *Verifier) bySecret(raw string) (map[string]any, error) {
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithoutClaimsValidation(), // see Verifier.identity
	)
	if _, err := parser.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return v.secret, nil }); err != nil {
		return nil, refused("the token is malformed or not signed with the secret")
	}
	return claims, nil
}

func (v *Verifier) byIssuer(ctx context.Context, raw string) (map[string]any, error) {
	keys := &attempt{keys: v.keys}
	token, err := oidc.NewVerifier(v.issuer, keys, &oidc.Config{
		SupportedSigningAlgs: v.algorithms,
		// See Verifier.identity. The library's checks accept tokens that expire at this
		// moment, or become valid within five minutes.
		SkipClientIDCheck: true, SkipExpiryCheck: true, SkipIssuerCheck: true,
	}).Verify(ctx, raw)
	switch {
	case keys.err != nil && !errors.Is(keys.err, errSignature):
		return nil, fmt.Errorf("identity: keys of issuer %q: %w", v.issuer, keys.err)
	case err != nil:
		return nil, refused("the token is malformed or not signed with a key of issuer %q", v.issuer)
	}
	var claims map[string]any
	if token.Claims(&claims) != nil {
		return nil, refused("the token's claims are not a JSON object")
	}
	return claims, nil
}

// identity checks the claims of a token with a valid signature and returns the caller.
func (v *Verifier) identity(claims map[string]any, byIssuer bool) (authz.Caller, error) {
	now := v.now()
	expires, has, err := instant(claims, "exp")
	switch {
	case err != nil:
		return authz.Caller{}, err
	case !has:
		return authz.Caller{}, refused("the token has no claim exp, which is required")
	case !now.Before(expires):
		return authz.Caller{}, refused("the token has expired")
	}
	for _, name := range []string{"nbf", "iat"} {
		from, _, err := instant(claims, name)
		if err != nil {
			return authz.Caller{}, err
		}
		if now.Add(leeway).Before(from) {
			return authz.Caller{}, refused("the token is not valid yet: its claim %s is more than %v in the future", name, leeway)
		}
	}
	iss, _ := claims["iss"].(string)
	switch {
	case byIssuer && iss != v.issuer:
		return authz.Caller{}, refused("the token's issuer is not %q", v.issuer)
	case !byIssuer && iss != "" && iss == v.issuer:
		// The holder of the secret cannot act as the issuer.
		return authz.Caller{}, refused("the token's issuer is %q, but it is signed with the secret", v.issuer)
	case v.audience != "" && !slices.Contains(audiences(claims), v.audience):
		return authz.Caller{}, refused("the token is not for the audience %q", v.audience)
	}
	user, _ := claims["sub"].(string)
	switch {
	case user == "":
		return authz.Caller{}, refused("the token has no claim sub, the id of the caller")
	case len(user) > maxUser:
		return authz.Caller{}, refused("the token's claim sub has %d bytes, over the limit of %d", len(user), maxUser)
	case strings.ContainsFunc(user, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }):
		return authz.Caller{}, refused("the token's claim sub has control characters")
	}
	roles, ok := names(lookup(claims, v.roles))
	if !ok {
		return authz.Caller{}, refused("the token's claim %s is neither a list of strings nor a string", v.roles)
	}
	return authz.Caller{User: user, Roles: roles, Expires: expires}, nil
}

// instant returns the time in a claim, which is in seconds since 1970.
func instant(claims map[string]any, name string) (t time.Time, has bool, err error) {
	value, has := claims[name]
	if !has {
		return time.Time{}, false, nil
	}
	seconds, ok := value.(float64)
	if !ok || seconds < 0 || seconds > lastSecond {
		return time.Time{}, true, refused("the token's claim %s is not a time", name)
	}
	whole, frac := math.Modf(seconds)
	return time.Unix(int64(whole), int64(frac*1e9)).UTC(), true, nil
}

// audiences returns the values of the claim aud, which is a string or a list of strings.
func audiences(claims map[string]any) []string {
	if one, ok := claims["aud"].(string); ok {
		return []string{one}
	}
	list, _ := claims["aud"].([]any)
	var all []string
	for _, a := range list {
		if s, ok := a.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// lookup finds a claim by its name or path. Names may contain dots, such as URLs and the
// names of Keycloak clients, so it tries each dot as the separator.
func lookup(claims map[string]any, path string) any {
	if value, has := claims[path]; has {
		return value
	}
	for i, r := range path {
		if r != '.' {
			continue
		}
		if nested, ok := claims[path[:i]].(map[string]any); ok {
			if value := lookup(nested, path[i+1:]); value != nil {
				return value
			}
		}
	}
	return nil
}

// names returns the roles in the value of the roles claim; ok is false if its type is
// wrong.
func names(value any) (all []string, ok bool) {
	switch value := value.(type) {
	case nil:
		return nil, true
	case string:
		if all = strings.Fields(value); len(all) == 0 {
			return nil, true
		}
		return all, true
	case []any:
		for _, v := range value {
			s, ok := v.(string)
			if !ok {
				return nil, false
			}
			if s != "" {
				all = append(all, s)
			}
		}
		return all, true
	}
	return nil, false
}
