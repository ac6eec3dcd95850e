package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/reventless-go/reventless/driver"
)

const (
	// maxKeys bounds the document with the keys, in bytes.
	maxKeys = 1 << 20
	// A token with an unknown key causes a fetch of the keys, and anyone can forge such a
	// token. To protect the issuer, fetches are limited: a burst of fetchBurst, then one in
	// each fetchInterval.
	fetchBurst    = 5
	fetchInterval = 5 * time.Second
)

// errSignature means that a token is not signed with a key of the issuer.
var errSignature = errors.New("not signed with a key of the issuer")

// keySet has the keys of an issuer and fetches them again if one is missing. The key set
// of go-oidc is not used because it fetches them for each forged token, and may use keys
// that it fetched before the token arrived.
type keySet struct {
	url    string
	client *http.Client
	now    func() time.Time

	last atomic.Pointer[fetched]
	// fetching is a lock: the caller that sends to it may use the fields below.
	fetching chan struct{}
	used     time.Time // the fetches so far use up the rate limit until this time
}

// fetched is the result of a fetch.
type fetched struct {
	nr   int
	keys []jose.JSONWebKey // of the last successful fetch
	err  error
}

func newKeySet(url string, client *http.Client, now func() time.Time) *keySet {
	k := &keySet{url: url, client: client, now: now, fetching: make(chan struct{}, 1)}
	k.last.Store(&fetched{})
	return k
}

// verify verifies a token's signature and returns its payload. The error is
// [errSignature], or a [driver.ErrUnavailable] if the keys cannot be fetched.
func (k *keySet) verify(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, asymmetric)
	if err != nil {
		return nil, errSignature
	}
	cached := k.last.Load()
	if payload, ok := cached.verify(jws); ok {
		return payload, nil
	}
	fresh, err := k.fetch(ctx, cached.nr)
	if err != nil {
		return nil, err
	}
	if payload, ok := fresh.verify(jws); ok {
		return payload, nil
	}
	return nil, errSignature
}

// verify tries the keys with the token's key id, or all keys if it has none.
func (f *fetched) verify(jws *jose.JSONWebSignature) ([]byte, bool) {
	header := jws.Signatures[0].Header
	for _, key := range f.keys {
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// fetch fetches the keys, unless another caller has fetched them since the fetch with
// the given number. Waiting callers share the result.
func (k *keySet) fetch(ctx context.Context, since int) (*fetched, error) {
	select {
	case k.fetching <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", driver.ErrUnavailable, ctx.Err())
	}
	defer func() { <-k.fetching }()
	f := k.last.Load()
	if f.nr == since && k.mayFetch() {
		// All waiting callers need the result: the end of one must not cancel the fetch.
		keys, err := k.get(context.WithoutCancel(ctx))
		if err != nil {
			keys = f.keys
		}
		f = &fetched{nr: f.nr + 1, keys: keys, err: err}
		k.last.Store(f)
	}
	return f, f.err
}

func (k *keySet) mayFetch() bool {
	now := k.now()
	// If it is more than a burst ahead, the clock was set back.
	if ahead := k.used.Sub(now); ahead < 0 || ahead > fetchBurst*fetchInterval {
		k.used = now
	}
	if k.used.Sub(now) > (fetchBurst-1)*fetchInterval {
		return false
	}
	k.used = k.used.Add(fetchInterval)
	return true
}

func (k *keySet) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	unavailable := func(err error) error { return fmt.Errorf("%w: %w", driver.ErrUnavailable, brief{err}) }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, http.NoBody)
	if err != nil {
		return nil, unavailable(err)
	}
	req.Header.Set("Cache-Control", "no-cache")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, unavailable(err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeys+1))
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	switch {
	case err != nil:
	case resp.StatusCode != http.StatusOK:
		err = fmt.Errorf("%s returned %s", k.url, resp.Status)
	case len(body) > maxKeys:
		err = fmt.Errorf("%s returned more than %d bytes", k.url, maxKeys)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, unavailable(fmt.Errorf("%s did not return a list of keys: %w", k.url, err))
	}
	var keys []jose.JSONWebKey
	for _, text := range set.Keys {
		// Keys of unknown kinds must be ignored (RFC 7517, 5).
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) == nil && key.IsPublic() && key.Use != "enc" {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, unavailable(fmt.Errorf("%s returned no usable public key among %d keys", k.url, len(set.Keys)))
	}
	return keys, nil
}
