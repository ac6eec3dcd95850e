// Package readmodel declares read models: rows that are projected from events
// and queried by id, by index, or as a whole.
//
// A projection is a pure function from one event to a list of changes. The
// engine applies each commit exactly once, in the order of its stream; between
// streams there is no order, so a row that is fed by many streams is changed by
// changes that commute (UpdateOrCreate with additions, for example).
package readmodel
