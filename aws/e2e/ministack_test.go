package e2e

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
)

// TestShopOnMiniStack replays the whole file on functions and event source mappings of
// MiniStack, an independent implementation of Lambda's. It shows that the binary runs
// under another runtime and understands its events. It does not test failures, because
// MiniStack ignores the partial batch responses of streams.
func TestShopOnMiniStack(t *testing.T) {
	mini := awstest.MiniStack(t)
	s := newStack(t, mini, mini)
	s.deployFunctions()
	file := sample(t)
	began := time.Now()
	s.send(commands(t, file))
	s.wait(expected(t, file))
	t.Logf("done after %v", time.Since(began))
	s.settle()
	s.check(file)
}

// wait waits until the read models have the wanted rows.
func (s *stack) wait(want map[string][]map[string]any) {
	s.t.Helper()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	deadline := time.After(15 * time.Minute)
	for {
		found := s.differences(want)
		if len(found) == 0 {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			s.t.Fatalf("the read models differ after 15 minutes: %s", strings.Join(found, "; "))
		}
	}
}

// until waits until a condition holds.
func (s *stack) until(what string, is func() bool) {
	s.t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(10 * time.Minute)
	for !is() {
		select {
		case <-again.C:
		case <-deadline:
			s.t.Fatalf("the condition does not hold after ten minutes: %s", what)
		}
	}
}

// settle waits until all queues are empty. Correct figures are not enough, because a
// function that they do not depend on may be failing.
func (s *stack) settle() {
	s.t.Helper()
	for _, f := range wiring.Functions(s.App, wiring.Shared) {
		for _, trigger := range f.Triggers {
			if !trigger.Stream() {
				s.until(fmt.Sprintf("the %v of %q are handled", trigger.Source, trigger.Component), func() bool { return s.Waiting(trigger.Source, trigger.Component) == 0 })
			}
		}
	}
}

// deployFunctions creates the functions of the shop and their event source mappings on
// MiniStack.
func (s *stack) deployFunctions() {
	s.t.Helper()
	binary, err := bootstrap()
	if err != nil {
		s.t.Fatal(err)
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		s.t.Fatal(err)
	}
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	f, err := w.CreateHeader(&zip.FileHeader{Name: "bootstrap", Method: zip.Store})
	if err == nil {
		_, err = f.Write(code)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	clients := s.Others.Clients(nil)
	bucket, key := s.Resource(naming.Bucket, "Ordering.Outbox"), "code/lambda.zip" // a bucket without a notification
	if _, err := clients.S3.PutObject(s.t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(archive.Bytes())}); err != nil {
		s.t.Fatal(err)
	}
	for _, f := range wiring.Functions(s.App, wiring.Shared) {
		name := s.FunctionName(f)
		if _, err := clients.Lambda.CreateFunction(s.t.Context(), &lambda.CreateFunctionInput{
			FunctionName: &name, Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"), Role: aws.String("arn:aws:iam::" + awstest.Account + ":role/" + name),
			Code: &types.FunctionCode{S3Bucket: &bucket, S3Key: &key}, Timeout: aws.Int32(10), MemorySize: aws.Int32(256),
			Environment: &types.Environment{Variables: s.Environment(f)},
		}); err != nil {
			s.t.Fatal(err)
		}
		for _, trigger := range f.Triggers {
			in := &lambda.CreateEventSourceMappingInput{
				FunctionName: &name, EventSourceArn: aws.String(s.Source(trigger)), BatchSize: aws.Int32(10),
				FunctionResponseTypes: []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures},
			}
			if trigger.Stream() {
				in.BatchSize, in.StartingPosition = aws.Int32(100), types.EventSourcePositionTrimHorizon
			}
			if _, err := clients.Lambda.CreateEventSourceMapping(s.t.Context(), in); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}
