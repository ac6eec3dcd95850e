package lambdahost

import (
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver/drivertest"
)

// lag is how long the mappings may take to bring what a call did.
const lag = 500 * time.Millisecond

// stores are the suites that run in the packages of their drivers, on a clock that they
// can move.
var stores = []string{"EventLog", "Watermarks", "QueryDb", "QueryEngine", "DeadLetters", "Outcomes"}

// onStand opens fixtures of stands.
func onStand(t *testing.T, b awstest.Backend) *drivertest.Fixture {
	t.Helper()
	for _, name := range stores {
		if strings.Contains(t.Name(), "/"+name+"/") {
			t.Skip("it runs in the package of the driver")
		}
	}
	return newStand(t, b, awstest.MiniStack(t)).fixture(t, lag)
}

// The suites of everything that is delivered run by the way that production goes.
func TestDeliveries(t *testing.T) {
	awstest.TestBackends(t, drivertest.TestProvider, 0, nil, onStand)
}
