package awstest

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/driver"
)

// Costs counts the requests and the capacity units of the calls of a driver.
type Costs struct {
	*Counter

	mu    sync.Mutex
	units float64
}

// NewCosts returns a transport before next that counts; nil is the plain transport.
func NewCosts(next http.RoundTripper) *Costs { return &Costs{Counter: NewCounter(next)} }

// Spent is the option of a driver that reports consumed capacity.
func (c *Costs) Spent(_ string, consumed *types.ConsumedCapacity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.units += aws.ToFloat64(consumed.CapacityUnits)
}

// Measure calls f and returns the number of its requests and of its units.
func (c *Costs) Measure(t testing.TB, what string, f func() error) (requests int, units float64) {
	t.Helper()
	c.Reset()
	c.units = 0
	if err := f(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return c.Of(), c.units
}

// AtMost checks that f makes at most so many requests and consumes at most so many
// units.
func (c *Costs) AtMost(t testing.TB, what string, requests int, units float64, f func() error) {
	t.Helper()
	if n, u := c.Measure(t, what, f); n > requests || u > units || n == 0 && requests > 0 {
		t.Errorf("%s took %d requests of %v units, want at most %d of %v (%v)", what, n, u, requests, units, c.All())
	}
}

// Exactly checks that f makes so many requests and consumes so many units. Negative
// units are not compared: the emulator does not count transactions as DynamoDB does,
// at two units for each item, nor reads of absent items.
func (c *Costs) Exactly(t testing.TB, what string, requests int, units float64, f func() error) {
	t.Helper()
	if n, u := c.Measure(t, what, f); n != requests || units >= 0 && u != units {
		t.Errorf("%s took %d requests of %v units, want %d of %v (%v)", what, n, u, requests, units, c.All())
	}
}

// Persist calls f until it succeeds or fails with an error that does not pass, which
// fails the test.
func Persist(t testing.TB, f func() error) bool {
	t.Helper()
	for {
		err := f()
		switch {
		case err == nil:
			return true
		case t.Context().Err() != nil, !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable):
			t.Errorf("an error that does not pass: %v", err)
			return false
		}
	}
}

// Foreign puts an item that no driver wrote into a table of DynamoDB Local.
func Foreign(t testing.TB, table string, item map[string]types.AttributeValue) {
	t.Helper()
	if _, err := DynamoDB(t).Clients(nil).DynamoDB.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
		t.Fatal(err)
	}
}

// Damaged checks that an error is of class [driver.ErrDamaged] and contains every text.
func Damaged(t testing.TB, what string, err error, texts ...string) {
	t.Helper()
	if !errors.Is(err, driver.ErrDamaged) {
		t.Errorf("%s: got %v, want an error of class damaged", what, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error does not contain %q: %v", what, text, err)
		}
	}
}

// Unavailable checks that errors are of class [driver.ErrUnavailable], and of neither
// class [driver.ErrNotFound] nor class [driver.ErrConflict].
func Unavailable(t testing.TB, errs ...error) {
	t.Helper()
	for i, err := range errs {
		if !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrNotFound) || errors.Is(err, driver.ErrConflict) {
			t.Errorf("call %d: got %v, want an error of class unavailable", i, err)
		}
	}
}
