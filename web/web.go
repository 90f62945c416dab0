// Package web holds the page on which people meet the bridge: it subscribes as any browser would, shows what
// arrives, and counts what is missing or repeated while the connection is cut, paused or the server restarted.
package web

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"time"
)

//go:embed demo
var files embed.FS

var index = template.Must(template.ParseFS(files, "demo/index.html"))

// contentSecurityPolicy keeps the data of an event what it is, text: no inline script or style, no other host, and no
// way from a string to markup.
const contentSecurityPolicy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// content is what the page is made of.
type content struct {
	Publish string
	Topics  []string
}

// Handler serves the page at "/" with its assets beside it. The page shows how one publishes at the URL publish, which
// is the bridge's internal listener as this machine reaches it. It subscribes to the given topics and patterns, to
// everything if there are none, until its user or its own "topic" parameters say otherwise.
func Handler(publish string, topics ...string) http.Handler {
	if len(topics) == 0 {
		topics = []string{"**"}
	}
	var page bytes.Buffer
	if err := index.Execute(&page, content{publish, topics}); err != nil {
		panic(err) // strings always render
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", asset("text/html; charset=utf-8", page.Bytes()))
	for name, mediaType := range map[string]string{
		"app.js":    "text/javascript; charset=utf-8",
		"style.css": "text/css; charset=utf-8",
		"icon.svg":  "image/svg+xml",
	} {
		text, err := files.ReadFile("demo/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		mux.Handle("GET /"+name, asset(mediaType, text))
	}
	return mux
}

func asset(mediaType string, text []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", mediaType)
		header.Set("Cache-Control", "no-cache") // page and bridge are one version
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
	})
}
