package watermarks_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/dynamo"
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
	costs := awstest.NewCosts(nil)
	table := awstest.TableOf(t, naming.Watermarks, topology.Component{Kind: "Automation"})
	w := watermarks.Open(awstest.DynamoDB(t).Clients(costs).DynamoDB, table, &watermarks.Options{Spent: costs.Spent})
	move := func(advances ...driver.Advance) func() error {
		return func() error { return w.Advance(t.Context(), advances) }
	}
	costs.Exactly(t, "moving one watermark", 1, 1, move(advance("a", 0, 1)))
	costs.Exactly(t, "moving three", 1, -1, move(advance("a", 1, 2), advance("b", 0, 1), advance("c", 0, 1)))
	costs.Exactly(t, "moving none", 0, 0, move())
	costs.Exactly(t, "reading one", 1, 1, func() error { _, err := w.Watermark(t.Context(), advance("a", 0, 0).StreamKey); return err })
	costs.Exactly(t, "reading 120", 2, -1, func() error {
		var keys []driver.StreamKey
		for i := range 120 {
			keys = append(keys, advance(fmt.Sprint(i), 0, 0).StreamKey)
		}
		_, err := w.Watermarks(t.Context(), keys)
		return err
	})
	var many []driver.Advance
	for i := range watermarks.MaxAdvances + 1 {
		many = append(many, advance(fmt.Sprint(i), 0, 1))
	}
	costs.Exactly(t, "moving more than fit in a transaction", 0, 0, func() error {
		if err := w.Advance(t.Context(), many); !errors.Is(err, driver.ErrTooLarge) {
			t.Errorf("moving %d watermarks: %v, want too large", len(many), err)
		}
		return nil
	})
}

// A foreign item fails every read of it, never moves, and affects no other stream.
func TestForeignItemIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	table := awstest.TableOf(t, naming.Watermarks, topology.Component{Kind: "Automation"})
	w := watermarks.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, table, nil)
	good := advance("good", 0, 1)
	if err := w.Advance(t.Context(), []driver.Advance{good}); err != nil {
		t.Fatal(err)
	}
	for attribute, v := range map[string]types.AttributeValue{"seq": dynamo.Text("1"), "blocked": dynamo.Text("yes")} {
		foreign := advance("foreign "+attribute, 0, 1)
		awstest.Foreign(t, table, dynamo.Item{"stream": dynamo.Text(foreign.Stream), "log": dynamo.Text(foreign.Log), attribute: v})
		_, one := w.Watermark(t.Context(), foreign.StreamKey)
		_, many := w.Watermarks(t.Context(), []driver.StreamKey{good.StreamKey, foreign.StreamKey})
		for method, err := range map[string]error{"Watermark": one, "Watermarks": many} {
			awstest.Damaged(t, method, err, foreign.Stream, table, attribute)
		}
		if err := w.Advance(t.Context(), []driver.Advance{foreign}); !errors.Is(err, driver.ErrConflict) {
			t.Errorf("Advance of the %s: %v, want conflict", foreign.Stream, err)
		}
	}
	if got, err := w.Watermark(t.Context(), good.StreamKey); err != nil || got.SequenceNr != 1 {
		t.Errorf("the watermark of the other stream is %+v, %v", got, err)
	}
}

func TestMissingTableIsUnavailable(t *testing.T) {
	t.Parallel()
	w := watermarks.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, "missing", nil)
	_, err := w.Watermark(t.Context(), advance("a", 0, 0).StreamKey)
	awstest.Unavailable(t, err)
}

// A failed condition says whether the stream is held. Without the item it has to be read.
func TestUnblockOfAHeldStreamConflictsWithAndWithoutTheItem(t *testing.T) {
	t.Parallel()
	for what, transport := range map[string]http.RoundTripper{"with": nil, "without": awstest.Itemless{Next: http.DefaultTransport}} {
		table := awstest.TableOf(t, naming.Watermarks, topology.Component{Kind: "Automation"})
		w := watermarks.Open(awstest.DynamoDB(t).Clients(transport).DynamoDB, table, nil)
		stream := func(name string) driver.StreamKey { return advance(name, 0, 0).StreamKey }
		for _, attributes := range []string{"held", "held and blocked", "free"} {
			item := dynamo.Item{watermarks.Stream: dynamo.Text(attributes), watermarks.Log: dynamo.Text("Test.Log"), "seq": dynamo.Number(1)}
			if attributes != "free" {
				item["hold"] = dynamo.Text("clear")
			}
			if attributes == "held and blocked" {
				item["blocked"] = &types.AttributeValueMemberBOOL{Value: true}
			}
			awstest.Foreign(t, table, item)
		}
		for _, held := range []string{"held", "held and blocked"} {
			if err := w.Unblock(t.Context(), stream(held)); !errors.Is(err, driver.ErrConflict) {
				t.Errorf("%s the item, a stream that is %s: %v, want a conflict", what, held, err)
			}
		}
		for _, free := range []string{"free", "unknown"} {
			if err := w.Unblock(t.Context(), stream(free)); err != nil {
				t.Errorf("%s the item, a stream that is %s: %v", what, free, err)
			}
		}
	}
}
