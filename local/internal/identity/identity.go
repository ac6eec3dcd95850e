// Package identity identifies the callers of an HTTP API: by a token in the header
// Authorization or, during development, by the header X-User.
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

// ErrUnauthenticated means that the credentials of a caller are invalid or not accepted.
// Its text never contains the token. If a token cannot be checked because the issuer's
// keys are unavailable, the error is a driver.ErrUnavailable instead.
var ErrUnauthenticated = errors.New("unauthenticated")

const (
	// maxCredentials bounds the length of a header or payload field.
	maxCredentials = 16 << 10
	// minSecret is the size of HS256's hash: a shorter secret is easier to guess
	// than the signature (RFC 7518, 3.2).
	minSecret = 32
)

// Options configure the credentials that a [Verifier] accepts. The zero Options accept
// no credentials.
type Options struct {
	// DevUsers accepts callers without credentials: the header X-User sets the caller to
	// user, or to admin, who has the role Admin. Use it only for a server that no other
	// machine can reach; see [Loopback] and [LocalHost].
	DevUsers bool
	// Secret verifies tokens signed with HS256. It has at least 32 bytes; if it is empty,
	// such tokens are not accepted.
	Secret []byte
	// Issuer is the URL of an OpenID Connect provider, whose keys verify tokens; it must
	// equal the tokens' claim iss. If it is empty, such tokens are not accepted. Use
	// https: anyone who can change the responses of the URL can forge tokens.
	Issuer string
	// Audience must be among the token's audiences, for both kinds of tokens. Empty
	// accepts any audience. With an Issuer it is required, because the issuer also issues
	// tokens for other services.
	Audience string
	// RolesClaim is the claim with the roles; the default is "roles". If no claim has
	// exactly this name, dots select members of nested objects, as in
	// "realm_access.roles". The value is a list of strings, or one string with the roles
	// separated by spaces. A token without the claim has no roles.
	RolesClaim string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Client fetches the issuer's configuration and keys; nil is a default client. If it
	// has no timeout, ten seconds are used.
	Client *http.Client
}

// Verifier identifies callers. It may be used concurrently.
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

// New returns a Verifier. With an issuer it fetches the issuer's configuration and keys,
// so that a wrong URL fails here and not with the first caller. If the issuer does not
// respond, the error is a driver.ErrUnavailable.
func New(ctx context.Context, opts Options) (*Verifier, error) {
	if len(opts.Secret) > 0 && len(opts.Secret) < minSecret {
		return nil, fmt.Errorf("identity: the secret has %d bytes, but HS256 needs at least %d", len(opts.Secret), minSecret)
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

// Request returns the caller of a request: the subject of the token in the header
// Authorization, or the dev user in X-User. Without either it returns the zero Caller and
// no error.
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

// Payload returns the caller of a connection with the protocol graphql-transport-ws.
// Browsers cannot set the headers of a WebSocket, so the credentials are the fields
// authorization and x-user of the payload of connection_init, ignoring case. Without
// either field the headers of the upgrade request are used.
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

// credentials are the unverified credentials of a caller.
type credentials struct {
	authorization, user       string
	hasAuthorization, hasUser bool
}

// add adds the values of one field. It refuses more than one value, because a proxy might
// use a different one.
func (c *credentials) add(name string, values ...string) error {
	for _, value := range values {
		field, has := &c.authorization, &c.hasAuthorization
		if name == "x-user" {
			field, has = &c.user, &c.hasUser
		}
		switch {
		case *has:
			return refused("%s occurs more than once", name)
		case len(value) > maxCredentials:
			return refused("%s has %d bytes, over the limit of %d", name, len(value), maxCredentials)
		}
		*field, *has = strings.Trim(value, " \t"), true
	}
	return nil
}

func (v *Verifier) verify(ctx context.Context, c credentials) (authz.Caller, error) {
	// Some clients without a token send the header without a value.
	hasToken := c.authorization != ""
	switch {
	case c.hasUser && !v.devUsers:
		return authz.Caller{}, refused("X-User is set, but dev users are off")
	case c.hasUser && hasToken:
		return authz.Caller{}, refused("both Authorization and X-User are set")
	case c.hasUser:
		return devUser(c.user)
	case !hasToken:
		return authz.Caller{}, nil
	}
	scheme, token, _ := strings.Cut(c.authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return authz.Caller{}, refused("Authorization does not have the form: Bearer TOKEN")
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
	return authz.Caller{}, refused("X-User is neither user nor admin; there are no other dev users")
}

// refused returns an [ErrUnauthenticated]. Its arguments must not come from a token.
func refused(format string, args ...any) error {
	return fmt.Errorf("identity: %s: %w", fmt.Sprintf(format, args...), ErrUnauthenticated)
}
