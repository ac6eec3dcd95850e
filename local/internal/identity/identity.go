// Package identity finds out who calls an HTTP API: from a token in the
// Authorization header, or, while developing, from the header X-User.
package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/reventless-go/reventless/internal/authz"
)

// ErrUnauthenticated says that a caller's credentials do not count: the token is
// bad, or there should be none. Its text never has the token in it. A token that
// could not be checked, because its issuer's keys could not be had, is a
// driver.ErrUnavailable instead.
var ErrUnauthenticated = errors.New("unauthenticated")

const (
	// maxCredentials bounds a header or payload field before it is looked at.
	maxCredentials = 16 << 10
	// minSecret is the size of HS256's hash: a shorter secret is easier to guess
	// than the signature (RFC 7518, 3.2).
	minSecret = 32
)

// Options are what a [Verifier] accepts. The zero Options accept no credentials.
type Options struct {
	// DevUsers takes the caller's word for who it is: the header X-User with the
	// value user, or admin, who has the role Admin. It is for a server that only
	// its developer reaches; see [Loopback] and [LocalHost].
	DevUsers bool
	// Secret verifies tokens signed with HS256. It has at least 32 bytes; empty is
	// no such tokens.
	Secret []byte
	// Issuer is the URL of an OpenID Connect provider, whose keys verify tokens; it
	// has to be the tokens' claim iss. Empty is no such tokens. Who can change what
	// is answered there can make tokens, so it should be https.
	Issuer string
	// Audience has to be among the token's audiences, for both kinds of tokens.
	// Empty is any, which with an Issuer is not allowed: it makes tokens for others.
	Audience string
	// RolesClaim names the claim with the roles, "roles" when empty. A claim of just
	// this name comes first; otherwise dots go into nested objects, as in
	// "realm_access.roles". The value is a list of strings, or one string with
	// spaces between; a token without it has no roles.
	RolesClaim string
	// Now is the clock; nil is the system's.
	Now func() time.Time
	// Client fetches what the issuer publishes; nil is a plain one. Without a
	// timeout of its own it gets one of ten seconds.
	Client *http.Client
}

// Verifier tells who a caller is. It may be used concurrently.
type Verifier struct {
	devUsers bool
	secret   []byte
	issuer   string
	audience string
	roles    string
	now      func() time.Time

	algorithms []string // of the issuer
	keys       *keySet
}

// New returns a Verifier. With an issuer it asks for the issuer's configuration and
// keys, so that a wrong address shows now and not with the first caller; when the
// issuer does not answer, the error is a driver.ErrUnavailable.
func New(ctx context.Context, opts Options) (*Verifier, error) {
	if len(opts.Secret) > 0 && len(opts.Secret) < minSecret {
		return nil, fmt.Errorf("identity: the secret has %d bytes, but HS256 needs %d at least", len(opts.Secret), minSecret)
	}
	v := &Verifier{
		devUsers: opts.DevUsers, secret: bytes.Clone(opts.Secret),
		issuer: opts.Issuer, audience: opts.Audience, roles: opts.RolesClaim, now: opts.Now,
	}
	if v.roles == "" {
		v.roles = "roles"
	}
	if v.now == nil {
		v.now = time.Now
	}
	if v.issuer != "" {
		if err := v.discover(ctx, opts.Client); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Request tells who sends a request: the bearer of the token in its header
// Authorization, or the dev user in X-User. A request without either is from
// nobody, which is no error.
func (v *Verifier) Request(r *http.Request) (authz.Caller, error) {
	var c credentials
	if err := errors.Join(
		c.add("authorization", r.Header.Values("Authorization")...),
		c.add("x-user", r.Header.Values("X-User")...),
	); err != nil {
		return authz.Caller{}, err
	}
	return v.verify(r.Context(), c)
}

// Payload tells who opens a connection of the protocol graphql-transport-ws. The
// payload of connection_init has what would be in the headers, which browsers
// cannot set here: the fields authorization and x-user, in any case of letters.
// With neither, the headers of the upgrade request count.
func (v *Verifier) Payload(payload map[string]any, upgrade *http.Request) (authz.Caller, error) {
	var c credentials
	for name, value := range payload {
		if value == nil || !strings.EqualFold(name, "authorization") && !strings.EqualFold(name, "x-user") {
			continue
		}
		text, ok := value.(string)
		if !ok {
			return authz.Caller{}, refused("the payload's %s is not a string", strings.ToLower(name))
		}
		if err := c.add(strings.ToLower(name), text); err != nil {
			return authz.Caller{}, err
		}
	}
	if !c.hasAuthorization && !c.hasUser {
		return v.Request(upgrade)
	}
	return v.verify(upgrade.Context(), c)
}

// credentials are what a caller says about itself.
type credentials struct {
	authorization, user       string
	hasAuthorization, hasUser bool
}

// add takes the values of one field. Several are refused: which one counts would
// differ between us and what stands before us.
func (c *credentials) add(name string, values ...string) error {
	for _, value := range values {
		field, has := &c.authorization, &c.hasAuthorization
		if name == "x-user" {
			field, has = &c.user, &c.hasUser
		}
		switch {
		case *has:
			return refused("%s is there twice", name)
		case len(value) > maxCredentials:
			return refused("%s has %d bytes, over the limit of %d", name, len(value), maxCredentials)
		}
		*field, *has = strings.Trim(value, " \t"), true
	}
	return nil
}

func (v *Verifier) verify(ctx context.Context, c credentials) (authz.Caller, error) {
	// Clients that have no token yet send the header without a value.
	bears := c.authorization != ""
	switch {
	case c.hasUser && !v.devUsers:
		return authz.Caller{}, refused("X-User is set, but dev users are off")
	case c.hasUser && bears:
		return authz.Caller{}, refused("both Authorization and X-User are set")
	case c.hasUser:
		return devUser(c.user)
	case !bears:
		return authz.Caller{}, nil
	}
	scheme, token, _ := strings.Cut(c.authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return authz.Caller{}, refused("Authorization is not of the form: Bearer TOKEN")
	}
	return v.token(ctx, strings.TrimLeft(token, " "))
}

func devUser(name string) (authz.Caller, error) {
	switch name {
	case "user":
		return authz.Caller{User: "user"}, nil
	case "admin":
		return authz.Caller{User: "admin", Roles: []string{"Admin"}}, nil
	}
	return authz.Caller{}, refused("X-User is neither user nor admin, which are all dev users")
}

// refused makes an [ErrUnauthenticated]. The arguments are never from a token.
func refused(format string, args ...any) error {
	return fmt.Errorf("identity: %s: %w", fmt.Sprintf(format, args...), ErrUnauthenticated)
}
