package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
)

// List prices in us-east-1, in dollars per million, of November 2026. They move, and
// other regions have others: look them up before you quote them.
const (
	perWriteUnit  = 0.625 // https://aws.amazon.com/dynamodb/pricing/on-demand/
	perReadUnit   = 0.125
	perFIFO       = 0.50 // requests of up to 64 KB: https://aws.amazon.com/sqs/pricing/
	perPublish    = 0.30 // to a FIFO topic: https://aws.amazon.com/sns/pricing/
	perInvocation = 0.20 // https://aws.amazon.com/lambda/pricing/; its duration is not in here
)

// meter is a proxy between functions and emulators that counts the billed requests.
type meter struct {
	mu            sync.Mutex
	requests      map[string]int
	writes, reads float64
	published     int
}

// RoundTrip forwards a request and counts it.
func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	var asked []byte
	if r.Body != nil {
		var err error
		if asked, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(asked))
	}
	response, err := awstest.Transport().RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answered, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(answered))
	m.count(awstest.Operation(r), asked, answered)
	return response, nil
}

// count counts a request: of SNS the messages, of DynamoDB the units.
func (m *meter) count(operation string, asked, answered []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[operation]++
	switch service, _, _ := strings.Cut(operation, "."); service {
	case "SNS":
		m.published += bytes.Count(asked, []byte(".Message="))
	case "DynamoDB":
		m.consumed(operation, answered)
	}
}

func (m *meter) consumed(operation string, answered []byte) {
	var answer struct{ ConsumedCapacity json.RawMessage }
	type capacity struct{ CapacityUnits float64 }
	if json.Unmarshal(answered, &answer) != nil || answer.ConsumedCapacity == nil {
		return
	}
	var many []capacity // a batch has one for each table
	var one capacity
	if json.Unmarshal(answer.ConsumedCapacity, &many) != nil && json.Unmarshal(answer.ConsumedCapacity, &one) == nil {
		many = append(many, one)
	}
	for _, c := range many {
		switch operation {
		case "DynamoDB.PutItem", "DynamoDB.UpdateItem", "DynamoDB.DeleteItem", "DynamoDB.BatchWriteItem", "DynamoDB.TransactWriteItems":
			m.writes += c.CapacityUnits
		default:
			m.reads += c.CapacityUnits
		}
	}
}

// BenchmarkCostOfTheShop replays the file and prints the cost of a million of its
// commands with all their effects: eleven read models, a counter, an automation that
// cancels, one that completes, and a mail for each order. It excludes the duration of
// functions, which no emulator can measure, storage, and polls of empty queues.
func BenchmarkCostOfTheShop(b *testing.B) {
	file := sample(b)
	all := commands(b, file)
	var m *meter
	var stats map[string]lambdarunner.Stats
	for b.Loop() {
		m = &meter{requests: map[string]int{}}
		s := newStack(b, awstest.DynamoDB(b), awstest.MiniStack(b))
		r := s.run(lambdarunner.Options{}, "AWS_ENDPOINT_URL="+awstest.Proxy(b, s.Others.Endpoint, m), "AWS_ENDPOINT_URL_DYNAMODB="+awstest.Proxy(b, s.DynamoDB.Endpoint, m))
		s.send(all)
		ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
		if err := r.WaitIdle(ctx); err != nil {
			b.Fatal(err)
		}
		cancel()
		stats = r.Stats()
		s.check(file)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	million := 1e6 / float64(len(all))
	invocations, queued := 0, 0
	for name, s := range stats {
		invocations += s.Invocations
		if !strings.Contains(name, "-relay-") && !strings.Contains(name, "-counters-") {
			queued += s.Invocations // by a queue, mostly: each is a receive and a delete
		}
	}
	sqs, sns, schedules := 2*queued+(len(all)+9)/10, 0, 0
	for operation, n := range m.requests {
		switch service, _, _ := strings.Cut(operation, "."); service {
		case "SQS":
			sqs += n
		case "SNS":
			sns += n
		case "Scheduler":
			schedules += n
		}
		b.Logf("%8d %s", n, operation)
	}
	dollars := func(n, price float64) float64 { return n * million / 1e6 * price }
	b.ReportMetric(m.writes*million/1e6, "WRU/command")
	b.ReportMetric(m.reads*million/1e6, "RRU/command")
	b.ReportMetric(float64(sqs)*million/1e6, "SQS/command")
	b.ReportMetric(float64(sns)*million/1e6, "SNS/command")
	b.ReportMetric(float64(invocations)*million/1e6, "Lambda/command")
	b.ReportMetric(dollars(m.writes, perWriteUnit)+dollars(m.reads, perReadUnit), "$DynamoDB/million")
	b.ReportMetric(dollars(float64(sqs), perFIFO), "$SQS/million")
	b.ReportMetric(dollars(float64(m.published), perPublish), "$SNS/million")
	b.ReportMetric(dollars(float64(invocations), perInvocation), "$Lambda-requests/million")
	b.ReportMetric(float64(schedules)*million/1e6, "schedules/command")
}
