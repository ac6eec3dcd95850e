// Package reventless is a framework for event-sourced services.
//
// A service is declared as plain Go: aggregates with a Decide and an Evolve
// function (package aggregate), read models with projections (readmodel),
// automations and side effects (automation), counters, schedules, tasks on
// files, and extension points between plugins. An [App] collects the plugins
// and is inert; hosts run it: module local on one SQLite file, package
// reventlesstest in memory for tests.
package reventless
