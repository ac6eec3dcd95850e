package lambdahost

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
)

// lag is how long the mappings may take to bring what a call did.
const lag = 500 * time.Millisecond

var (
	// stores are the suites that run in the packages of their drivers, on a clock that
	// they can move.
	stores = []string{"EventLog", "Watermarks", "QueryDb", "QueryEngine", "DeadLetters", "Outcomes"}
	// tableless are the suites that need no table, for which DynamoDB does not matter.
	tableless = []string{"CommandTopic", "EventTopic", "Scheduler", "Bucket"}
)

// onStand opens fixtures of stands.
func onStand(t *testing.T, b awstest.Backend) *drivertest.Fixture {
	t.Helper()
	suite := strings.Split(t.Name(), "/")[2]
	switch {
	case slices.Contains(stores, suite):
		t.Skip("it runs in the package of the driver")
	case b.DynamoDB.Name == "MiniStack" && slices.Contains(tableless, suite):
		t.Skip("it runs on MiniStack beside DynamoDB Local")
	case b.Faults != nil && suite == "StateTopic":
		t.Skip("a write that is sent again is one change more, and nobody but the driver of rows sends requests")
	}
	return newStand(t, b, awstest.MiniStack(t)).fixture(t, lag)
}

// The suites of all that is delivered run by the way that production goes.
//
// Faults are those of the drivers' requests. What a repeated request does is no fault to
// some suites: a message that is sent again to a standard queue is one more, and an
// object that is put again is one change more.
func TestDeliveries(t *testing.T) {
	after := awstest.After(
		"DynamoDB.*", "SQS.SendMessageBatch", "SQS.ChangeMessageVisibilityBatch", "SNS.*", "Scheduler.*",
		"S3.GetObject", "S3.ListObjectsV2", "S3.DeleteObject", "S3.CreateMultipartUpload", "S3.UploadPart",
	)
	awstest.TestBackends(t, drivertest.TestProvider, 1, append(after, awstest.Before()...), onStand)
}

// Nobody can tell from the results whether an application runs on AWS or in memory.
func TestSameResults(t *testing.T) {
	t.Parallel()
	drivertest.TestSameResults(t, func(*testing.T) *drivertest.Fixture {
		return &drivertest.Fixture{Provider: memory.New(nil)}
	}, func(t *testing.T) *drivertest.Fixture {
		b := awstest.Backend{DynamoDB: awstest.DynamoDB(t), Config: awstest.DynamoDB(t).Config(nil)}
		return newStand(t, b, awstest.MiniStack(t)).fixture(t, 300*time.Millisecond)
	}, 2)
}
