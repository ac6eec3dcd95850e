package watermarks_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/watermarks"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/topology"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

func TestWatermarks(t *testing.T) {
	awstest.TestStores(t, drivertest.TestWatermarks, 2, awstest.Mix(), awstest.Repeats)
}

func advance(stream string, from, to uint64) driver.Advance {
	return driver.Advance{StreamKey: driver.StreamKey{Log: "Test.Log", Stream: stream}, From: from, To: to}
}

func TestCosts(t *testing.T) {
	t.Parallel()
	e := awstest.DynamoDB(t)
	table := awstest.TableOf(t, naming.Watermarks, topology.Component{Kind: "Automation"})
	requests, units := awstest.NewCounter(nil), 0.0
	c := watermarks.Open(e.Clients(requests).DynamoDB, table, &watermarks.Options{Spent: func(_ string, c *types.ConsumedCapacity) {
		units += aws.ToFloat64(c.CapacityUnits)
	}})
	cost := func(what string, wantRequests int, wantUnits float64, f func() error) {
		t.Helper()
		requests.Reset()
		units = 0
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := requests.Of(); n != wantRequests || wantUnits >= 0 && units != wantUnits {
			t.Errorf("%s took %d requests of %v units, want %d of %v (%v)", what, n, units, wantRequests, wantUnits, requests.All())
		}
	}
	cost("moving one watermark", 1, 1, func() error { return c.Advance(t.Context(), []driver.Advance{advance("a", 0, 1)}) })
	// The emulator does not count transactions as the service does, and reads of
	// nothing as none.
	cost("moving three", 1, -1, func() error {
		return c.Advance(t.Context(), []driver.Advance{advance("a", 1, 2), advance("b", 0, 1), advance("c", 0, 1)})
	})
	cost("moving none", 0, 0, func() error { return c.Advance(t.Context(), nil) })
	cost("reading one", 1, 1, func() error { _, err := c.Watermark(t.Context(), advance("a", 0, 0).StreamKey); return err })
	cost("reading 120", 2, -1, func() error {
		var keys []driver.StreamKey
		for i := range 120 {
			keys = append(keys, advance(fmt.Sprint(i), 0, 0).StreamKey)
		}
		_, err := c.Watermarks(t.Context(), keys)
		return err
	})
	var large *driver.TooLargeError
	var many []driver.Advance
	for i := range watermarks.MaxAdvances + 1 {
		many = append(many, advance(fmt.Sprint(i), 0, 1))
	}
	requests.Reset()
	if err := c.Advance(t.Context(), many); !errors.As(err, &large) || requests.Of() != 0 {
		t.Errorf("moving more than a transaction takes: %v after %d requests", err, requests.Of())
	}
}

// A table may hold what others wrote. It fails what meets it, by name, and nothing
// else; nothing moves it.
func TestForeignItemIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	client, table := awstest.DynamoDB(t).Clients(nil).DynamoDB, awstest.TableOf(t, naming.Watermarks, topology.Component{Kind: "Automation"})
	c := watermarks.Open(client, table, nil)
	good := advance("good", 0, 1)
	if err := c.Advance(t.Context(), []driver.Advance{good}); err != nil {
		t.Fatal(err)
	}
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	for attribute, v := range map[string]types.AttributeValue{"seq": text("1"), "blocked": text("yes")} {
		foreign := advance("foreign "+attribute, 0, 1)
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: map[string]types.AttributeValue{
			"stream": text(foreign.Stream), "log": text(foreign.Log), attribute: v,
		}}); err != nil {
			t.Fatal(err)
		}
		_, one := c.Watermark(t.Context(), foreign.StreamKey)
		_, many := c.Watermarks(t.Context(), []driver.StreamKey{good.StreamKey, foreign.StreamKey})
		for method, err := range map[string]error{"Watermark": one, "Watermarks": many} {
			if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), foreign.Stream) || !strings.Contains(err.Error(), table) || !strings.Contains(err.Error(), attribute) {
				t.Errorf("%s of the %s: %v", method, foreign.Stream, err)
			}
		}
		if err := c.Advance(t.Context(), []driver.Advance{foreign}); !errors.Is(err, driver.ErrConflict) {
			t.Errorf("Advance of the %s: %v, want conflict", foreign.Stream, err)
		}
	}
	if mark, err := c.Watermark(t.Context(), good.StreamKey); err != nil || mark.SequenceNr != 1 {
		t.Errorf("the good one is %+v, %v", mark, err)
	}
}

func TestMissingTableIsUnavailable(t *testing.T) {
	t.Parallel()
	c := watermarks.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, "missing", nil)
	if _, err := c.Watermark(t.Context(), advance("a", 0, 0).StreamKey); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}
