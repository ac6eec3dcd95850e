// Package views holds the read models of the plugin Catalog.
package views
