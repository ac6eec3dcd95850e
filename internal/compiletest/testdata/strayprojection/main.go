package main

import (
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"

	. "github.com/reventless-go/reventless/internal/compiletest/testdata/order"
)

type Row struct{ Orders int }

type Other struct{}

var wrongEvent = readmodel.On(Order, func(e message.Event[Command]) readmodel.Changes[Row] { return nil }) // refused: does not match

var wrongRow = readmodel.New(readmodel.Spec[Row]{
	Name: "Rows",
	Projections: readmodel.Projections[Row]{
		readmodel.On(Order, func(e message.Event[Event]) readmodel.Changes[Other] { return nil }), // refused: cannot use
	},
})

func main() {}
