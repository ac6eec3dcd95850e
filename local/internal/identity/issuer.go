package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/reventless-go/reventless/driver"
)

const (
	// fetchTimeout bounds a request to an issuer, for which callers wait.
	fetchTimeout = 10 * time.Second
	// maxErrorText bounds the text of an error, which may quote the issuer's response.
	maxErrorText = 400
)

// asymmetric are the accepted algorithms with public keys.
var asymmetric = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
	jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
}

// discover fetches the issuer's configuration and keys.
func (v *Verifier) discover(ctx context.Context, given *http.Client) error {
	switch u, err := url.Parse(v.issuer); {
	case err != nil, u.Host == "", u.Scheme != "https" && u.Scheme != "http", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return errors.New("identity: the issuer is not a URL such as https://login.example.com/tenant")
	case v.audience == "":
		return fmt.Errorf("identity: issuer %q needs an audience, because it also issues tokens for other services", v.issuer)
	}
	client := &http.Client{}
	if given != nil {
		*client = *given
	}
	if client.Timeout == 0 {
		client.Timeout = fetchTimeout
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), v.issuer)
	var unanswered *url.Error
	if errors.As(err, &unanswered) {
		err = fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	if err != nil {
		return fmt.Errorf("identity: discover issuer %q: %w", v.issuer, brief{err})
	}
	var config struct {
		Keys       string                    `json:"jwks_uri"`
		Algorithms []jose.SignatureAlgorithm `json:"id_token_signing_alg_values_supported"`
	}
	if err := provider.Claims(&config); err != nil {
		return fmt.Errorf("identity: discover issuer %q: %w", v.issuer, brief{err})
	}
	for _, alg := range config.Algorithms {
		if slices.Contains(asymmetric, alg) {
			v.algorithms = append(v.algorithms, string(alg))
		}
	}
	if len(v.algorithms) == 0 {
		v.algorithms = []string{string(jose.RS256)} // which every issuer must support
	}
	v.keys = newKeySet(config.Keys, client, v.now)
	if _, err := v.keys.fetch(ctx, 0); err != nil {
		return fmt.Errorf("identity: keys of issuer %q: %w", v.issuer, err)
	}
	return nil
}

// attempt verifies the signature of one token. It keeps the error, because the verifier
// of go-oidc does not wrap it.
type attempt struct {
	keys *keySet
	err  error
}

// VerifySignature implements [oidc.KeySet].
func (a *attempt) VerifySignature(ctx context.Context, token string) (payload []byte, err error) {
	payload, a.err = a.keys.verify(ctx, token)
	return payload, a.err
}

// brief is an error with a text of bounded length.
type brief struct{ error }

func (b brief) Error() string {
	if text := b.error.Error(); len(text) > maxErrorText {
		return text[:maxErrorText] + "..."
	}
	return b.error.Error()
}

func (b brief) Unwrap() error { return b.error }
