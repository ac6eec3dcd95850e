package lambdarunner

import (
	"cmp"
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// record returns a stream record in the form of a Lambda event.
// https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
func (s *stream) record(r streamtypes.Record) json.RawMessage {
	d := r.Dynamodb
	change := map[string]any{
		"SequenceNumber": aws.ToString(d.SequenceNumber), "StreamViewType": d.StreamViewType, "SizeBytes": aws.ToInt64(d.SizeBytes),
		"ApproximateCreationDateTime": aws.ToTime(d.ApproximateCreationDateTime).Unix(),
	}
	for name, image := range map[string]map[string]streamtypes.AttributeValue{"Keys": d.Keys, "NewImage": d.NewImage, "OldImage": d.OldImage} {
		if image != nil {
			change[name] = typed(image)
		}
	}
	record := map[string]any{
		"eventName": r.EventName, "eventSource": "aws:dynamodb", "dynamodb": change, "eventID": aws.ToString(r.EventID),
		"eventVersion": cmp.Or(aws.ToString(r.EventVersion), "1.1"), "awsRegion": s.r.opts.Region, "eventSourceARN": s.arn,
	}
	if id := r.UserIdentity; id != nil {
		record["userIdentity"] = map[string]string{"type": aws.ToString(id.Type), "principalId": aws.ToString(id.PrincipalId)}
	}
	text, _ := json.Marshal(record) // all values have a JSON form
	return text
}

// typed returns an item in the form of a Lambda event: {"id":{"S":"a"}}.
func typed(item map[string]streamtypes.AttributeValue) map[string]any {
	m := make(map[string]any, len(item))
	for name, v := range item {
		m[name] = typedValue(v)
	}
	return m
}

func typedValue(v streamtypes.AttributeValue) any {
	switch v := v.(type) {
	case *streamtypes.AttributeValueMemberS:
		return map[string]any{"S": v.Value}
	case *streamtypes.AttributeValueMemberN:
		return map[string]any{"N": v.Value}
	case *streamtypes.AttributeValueMemberB:
		return map[string]any{"B": v.Value}
	case *streamtypes.AttributeValueMemberBOOL:
		return map[string]any{"BOOL": v.Value}
	case *streamtypes.AttributeValueMemberNULL:
		return map[string]any{"NULL": v.Value}
	case *streamtypes.AttributeValueMemberSS:
		return map[string]any{"SS": v.Value}
	case *streamtypes.AttributeValueMemberNS:
		return map[string]any{"NS": v.Value}
	case *streamtypes.AttributeValueMemberBS:
		return map[string]any{"BS": v.Value}
	case *streamtypes.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i, e := range v.Value {
			list[i] = typedValue(e)
		}
		return map[string]any{"L": list}
	case *streamtypes.AttributeValueMemberM:
		return map[string]any{"M": typed(v.Value)}
	}
	return map[string]any{}
}
