package eventcollector_test

import (
	"os"
	"testing"

	"github.com/reventless-go/reventless/aws/internal/awstest"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }
