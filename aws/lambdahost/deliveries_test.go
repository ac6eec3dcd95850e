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

// lag is the time until the mappings deliver the effects of a call.
const lag = 500 * time.Millisecond

var (
	// stores are the suites that need to move the clock. They run in the packages of the
	// drivers.
	stores = []string{"EventLog", "Watermarks", "QueryDb", "QueryEngine", "DeadLetters", "Outcomes"}
	// tableless are the suites that do not use DynamoDB.
	tableless = []string{"CommandTopic", "EventTopic", "Scheduler", "Bucket"}
)

// onStand returns the fixture of a stand.
func onStand(t *testing.T, b awstest.Backend) *drivertest.Fixture {
	t.Helper()
	suite := strings.Split(t.Name(), "/")[2]
	switch {
	case slices.Contains(stores, suite):
		t.Skip("runs in the package of the driver")
	case suite == "Shadow":
		t.Skip("a read model on DynamoDB has no shadow: it is cleared and filled again")
	case b.DynamoDB.Name == "MiniStack" && slices.Contains(tableless, suite):
		t.Skip("runs with DynamoDB Local, too, on the same services of MiniStack")
	case b.Faults != nil && suite == "StateTopic":
		t.Skip("a repeated write is another change")
	}
	s := newStand(t, b, awstest.MiniStack(t))
	if strings.HasSuffix(t.Name(), "/TheLastOfQuickChangesIsDelivered") {
		// The events of an object have an order within a process of Lambda, which has one
		// invocation at a time. Other properties hold the deliveries of several.
		s.concurrency = 1
	}
	return s.fixture(t, lag)
}

// The suites of all deliveries run through production's path: event source mappings and the
// handler.
//
// The faults exclude requests whose repetition is visible to the suites: a repeated send to
// a standard queue adds a message, and a repeated put of an object is another change.
func TestDeliveries(t *testing.T) {
	after := awstest.After(
		"DynamoDB.*", "SQS.SendMessageBatch", "SQS.ChangeMessageVisibilityBatch", "SNS.*", "Scheduler.*",
		"S3.GetObject", "S3.ListObjectsV2", "S3.DeleteObject", "S3.CreateMultipartUpload", "S3.UploadPart",
	)
	awstest.TestBackends(t, drivertest.TestProvider, 1, append(after, awstest.Before()...), onStand)
}

// An application has the same results on AWS and in memory.
func TestSameResults(t *testing.T) {
	t.Parallel()
	drivertest.TestSameResults(t, func(*testing.T) *drivertest.Fixture {
		return &drivertest.Fixture{Provider: memory.New(nil)}
	}, func(t *testing.T) *drivertest.Fixture {
		b := awstest.Backend{DynamoDB: awstest.DynamoDB(t), Config: awstest.DynamoDB(t).Config(nil)}
		return newStand(t, b, awstest.MiniStack(t)).fixture(t, 300*time.Millisecond)
	}, 2)
}
