package querydb_test

import (
	"os"
	"testing"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver/drivertest"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

func TestQueryDb(t *testing.T) {
	awstest.TestStores(t, drivertest.TestQueryDb, 1, awstest.Mix(), awstest.Repeats)
}
