package seed_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/examples/shop/seed"
	"github.com/reventless-go/reventless/message"
)

const header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"

// log records the sent commands. It rejects those in reject with the given codes.
type log struct {
	sent   []string
	reject map[string]string
}

func (l *log) send(_ context.Context, id string, s message.Send) (message.Outcome, error) {
	a := s.Erased()
	if a.Err != nil {
		return message.Outcome{}, a.Err
	}
	if code, ok := l.reject[id]; ok {
		return message.Outcome{Kind: message.Rejected, CommandID: id, Code: code, Message: code}, nil
	}
	l.sent = append(l.sent, id+": "+a.Target.Name+" "+a.ID+" "+a.Command.Type+string(a.Command.Data))
	return message.Outcome{Kind: message.Accepted, CommandID: id}, nil
}

func replay(t *testing.T, l *log, file string) seed.Report {
	t.Helper()
	report, err := seed.Replay(t.Context(), strings.NewReader(file), l.send, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

const twoInvoices = header +
	"100,A,Lamp ,2,12/1/10 8:26,2.55,17,France\n" +
	"100,B,Mug,1,12/1/10 8:26,1,17,France\n" +
	"100,A,Lamp,3,12/1/10 8:26,2.55,17,France\n" +
	"C101,A,Lamp,-1,12/1/10 9:00,2.95,17,France\n"

func TestReplay(t *testing.T) {
	t.Parallel()
	l := &log{}
	report := replay(t, l, twoInvoices)
	want := []string{
		`seed-100-1-add: Product A Add{"name":"Lamp ","description":"Lamp ","price":255}`,
		`seed-100-2-add: Product B Add{"name":"Mug","description":"Mug","price":100}`,
		`seed-100-register: Customer 17 Register{"email":"17@example.com","country":"France"}`,
		`seed-100-place: Order 100 Place{"customerId":"17","country":"France","lines":[` +
			`{"productId":"A","quantity":2,"unitPrice":255},{"productId":"B","quantity":1,"unitPrice":100},{"productId":"A","quantity":3,"unitPrice":255}]}`,
		`seed-100-pay: Order 100 Pay{}`,
		`seed-100-ship-A: Order 100 ShipLine{"productId":"A"}`,
		`seed-100-ship-B: Order 100 ShipLine{"productId":"B"}`,
		`seed-C101-1-price: Product A ChangePrice{"price":295}`,
		`seed-C101-record: Return C101 Record{"customerId":"17","country":"France","lines":[{"productId":"A","quantity":1,"unitPrice":295}]}`,
	}
	if !reflect.DeepEqual(l.sent, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(l.sent, "\n"), strings.Join(want, "\n"))
	}
	if want := (seed.Report{Products: 2, PriceChanges: 1, Customers: 1, Orders: 1, Returns: 1}); !reflect.DeepEqual(report, want) {
		t.Errorf("got %+v, want %+v", report, want)
	}
}

func TestInvoiceWithoutCustomerIsSkipped(t *testing.T) {
	t.Parallel()
	l := &log{}
	report := replay(t, l, header+"100,A,Lamp,2,12/1/10 8:26,2.55,,France\n100,B,Mug,2,12/1/10 8:26,0,,France\n")
	if len(l.sent) > 0 {
		t.Errorf("got %q sent, want nothing", l.sent)
	}
	if want := (seed.Report{Skipped: []seed.Skipped{{Line: 2, Invoice: "100", Reason: "it has no customer"}}}); !reflect.DeepEqual(report, want) {
		t.Errorf("got %+v, want %+v", report, want)
	}
}

func TestWhatWasDoneBeforeIsNotRejected(t *testing.T) {
	t.Parallel()
	l := &log{reject: map[string]string{
		"seed-100-1-add": "AlreadyExists", "seed-100-2-add": "AlreadyExists", "seed-100-register": "AlreadyRegistered",
		"seed-100-place": "AlreadyPlaced", "seed-100-pay": "AlreadyPaid",
		"seed-100-ship-A": "AlreadyShipped", "seed-100-ship-B": "AlreadyShipped", "seed-C101-record": "AlreadyRecorded",
	}}
	report := replay(t, l, twoInvoices)
	if want := (seed.Report{Products: 2, PriceChanges: 1, Customers: 1, Orders: 1, Returns: 1}); !reflect.DeepEqual(report, want) {
		t.Errorf("got %+v, want %+v", report, want)
	}
}

func TestNothingFollowsARejection(t *testing.T) {
	t.Parallel()
	l := &log{reject: map[string]string{"seed-100-place": "Empty", "seed-C101-1-price": "Discontinued"}}
	report := replay(t, l, twoInvoices)
	want := seed.Report{Products: 2, Customers: 1, Returns: 1, Rejected: []seed.Rejected{
		{Line: 2, CommandID: "seed-100-place", Code: "Empty", Message: "Empty"},
		{Line: 5, CommandID: "seed-C101-1-price", Code: "Discontinued", Message: "Discontinued"},
	}}
	if !reflect.DeepEqual(report, want) {
		t.Errorf("got %+v, want %+v", report, want)
	}
	for _, sent := range l.sent {
		if strings.Contains(sent, "Order 100") {
			t.Errorf("%s was sent though the order was not placed", sent)
		}
	}
}

func TestErrorOfSendEndsTheReplay(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	report, err := seed.Replay(t.Context(), strings.NewReader(twoInvoices), func(_ context.Context, id string, _ message.Send) (message.Outcome, error) {
		if id == "seed-100-register" {
			return message.Outcome{}, down
		}
		return message.Outcome{}, nil
	}, nil)
	if !errors.Is(err, down) || !strings.Contains(err.Error(), "line 4: seed-100-register") {
		t.Errorf("got %v, want the error of send with its line and command", err)
	}
	if report.Products != 2 {
		t.Errorf("got %+v, want the 2 products before it", report)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var got []seed.Progress
	_, err := seed.Replay(t.Context(), strings.NewReader(twoInvoices), (&log{}).send, func(p seed.Progress) { got = append(got, p) })
	if want := []seed.Progress{{1, 4}, {2, 4}, {3, 4}, {4, 4}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	const good = "100,A,Lamp,2,12/1/10 8:26,2.55,17,France\n"
	for name, test := range map[string]struct{ file, want string }{
		"empty":             {"", "the file is empty"},
		"missing column":    {strings.Replace(header, "UnitPrice", "Price", 1) + good, "line 1: column UnitPrice is missing; found InvoiceNo,"},
		"short row":         {header + good + "100,A,Lamp\n", "line 3: found 3 columns, not 8"},
		"quantity":          {header + good + strings.Replace(good, ",2,", ",2x,", 1), `line 3, column Quantity: "2x" is not a whole number`},
		"huge quantity":     {header + strings.Replace(good, ",2,", ",2147483648,", 1), `line 2, column Quantity: "2147483648"`},
		"price":             {header + strings.Replace(good, "2.55", "2.555", 1), `line 2, column UnitPrice: "2.555"`},
		"date":              {header + strings.Replace(good, "12/1/10", "13/1/10", 1), `line 2, column InvoiceDate: "13/1/10 8:26"`},
		"no invoice":        {header + strings.Replace(good, "100", "", 1), "line 2, column InvoiceNo:"},
		"no stock code":     {header + strings.Replace(good, "A", "", 1), "line 2, column StockCode:"},
		"not UTF-8":         {header + strings.Replace(good, "Lamp", "Lamp \xa35", 1), `line 2, column Description: "Lamp \xa35" is not valid UTF-8`},
		"two customers":     {header + good + strings.Replace(good, "17", "18", 1), `line 3, column CustomerID: "18" is not the customer "17" of line 2`},
		"two countries":     {header + good + strings.Replace(good, "France", "Spain", 1), `line 3, column Country: "Spain" is not the country "France" of line 2`},
		"bare quote":        {header + good + strings.Replace(good, "Lamp", `9" lamp`, 1), "line 3, byte 8:"},
		"quote left open":   {header + good + strings.Replace(good, "Lamp", `"Lamp`, 1) + good, "line 3: a quote in this row is not closed"},
		"quote open at end": {header + strings.Replace(good, "France\n", `"France`, 1), "line 2, byte"},
	} {
		l := &log{}
		_, err := seed.Replay(t.Context(), strings.NewReader(test.file), l.send, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
		if len(l.sent) > 0 {
			t.Errorf("%s: %d commands were sent", name, len(l.sent))
		}
	}
}

func TestAllBadLinesAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	file := header + strings.Repeat("100,A,Lamp,x,y,z,17,France\n", 2)
	_, err := seed.Replay(t.Context(), strings.NewReader(file), (&log{}).send, nil)
	if err == nil || strings.Count(err.Error(), "\n") != 5 {
		t.Errorf("got %v, want six problems", err)
	}
}

func TestColumnsInAnyOrder(t *testing.T) {
	t.Parallel()
	l := &log{}
	report := replay(t, l, "\ufeffCountry,Extra,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo\r\n"+
		"France,,17,2.55,12/1/10 8:26,2,Lamp,A,100\r\n")
	if want := (seed.Report{Products: 1, Customers: 1, Orders: 1}); !reflect.DeepEqual(report, want) {
		t.Errorf("got %+v, want %+v", report, want)
	}
}

func TestReportAsText(t *testing.T) {
	t.Parallel()
	report := seed.Report{
		Products: 5, PriceChanges: 4, Customers: 3, Orders: 2, Returns: 1,
		Skipped:  []seed.Skipped{{Line: 6, Invoice: "100", Reason: "it has no customer"}},
		Rejected: []seed.Rejected{{Line: 7, CommandID: "seed-101-place", Code: "Empty", Message: "Empty"}},
	}
	want := "5 products, 4 price changes, 3 customers, 2 orders, 1 returns\n" +
		"skipped: line 6, invoice 100: it has no customer\n" +
		"rejected: line 7, command seed-101-place: Empty\n"
	if got := report.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
