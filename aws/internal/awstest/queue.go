package awstest

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/topology"
)

// NewQueue creates the queue of a trigger on MiniStack and returns its URL.
func NewQueue(t testing.TB, trigger wiring.Trigger) (d *Deployment, url string) {
	t.Helper()
	d = NewDeployment(t, topology.App{Name: "test"}, MiniStack(t), MiniStack(t))
	if err := d.Queue(trigger); err != nil {
		t.Fatal(err)
	}
	return d, d.QueueURL(trigger.Source, trigger.Component)
}

// Bodies receives and deletes n messages of a queue on MiniStack and returns their bodies
// in the order of receipt.
func Bodies(t testing.TB, url string, n int) []string {
	t.Helper()
	client := MiniStack(t).Clients(nil).SQS
	var bodies []string
	for empty := 0; len(bodies) < n; {
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 5})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			if empty++; empty > 5 {
				t.Fatalf("received %d messages, want %d", len(bodies), n)
			}
		}
		for _, m := range out.Messages {
			bodies = append(bodies, aws.ToString(m.Body))
			if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return bodies
}
