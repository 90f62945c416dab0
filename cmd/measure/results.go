package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// results is what was measured last of each part, with all runs.
type results struct {
	Rows   *rowsPart   `json:"rows,omitempty"`
	Stages *stagesPart `json:"stages,omitempty"`
	Growth *growthPart `json:"growth,omitempty"`
}

type rowsPart struct {
	Taken  taken       `json:"taken"`
	Count  int         `json:"count"`
	Quick  bool        `json:"quick"`
	Shared bool        `json:"generator_shares_processors"` // with the bridge on two
	Rows   []rowResult `json:"rows"`
}

type stagesPart struct {
	Taken taken          `json:"taken"`
	Work  []stagesResult `json:"work"`
}

type growthPart struct {
	Taken  taken         `json:"taken"`
	Shared bool          `json:"generator_shares_processors"` // with the bridge on two
	Runs   int           `json:"runs"`
	Points []growthPoint `json:"points"`
}

const quickDirectory = "dist/measure-quick"

// place is where results go.
type place struct {
	template string // a README, whose section is replaced
	document string // the README that is written
	data     string
	picture  string
}

func placeOf(root string, quick bool) place {
	readme := filepath.Join(root, "README.md")
	if quick {
		into := filepath.Join(root, filepath.FromSlash(quickDirectory))
		return place{readme, filepath.Join(into, "README.md"), filepath.Join(into, "results.json"), filepath.Join(into, "growth.svg")}
	}
	into := filepath.Join(root, "cmd", "measure")
	return place{readme, readme, filepath.Join(into, "results.json"), filepath.Join(into, "growth.svg")}
}

func (p place) readme() (string, error) {
	text, err := os.ReadFile(p.template)
	return string(text), err
}

// load returns the results of before, if there are any.
func (p place) load() (*results, error) {
	kept := &results{}
	text, err := os.ReadFile(p.data)
	if errors.Is(err, fs.ErrNotExist) {
		return kept, nil
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, kept); err != nil {
		return nil, fmt.Errorf("%s: %w: mend it, or delete it and measure every part", p.data, err)
	}
	return kept, nil
}

// write writes the results, their picture and the README.
func (p place) write(r *results) error {
	text, err := p.readme()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.data), 0o755); err != nil { //nolint:gosec // part of the repository
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	picture, err := filepath.Rel(filepath.Dir(p.document), p.picture)
	if err != nil {
		return err
	}
	document, err := replaceSection(text, section(r, filepath.ToSlash(picture)))
	if err != nil {
		return fmt.Errorf("%s: %w", p.template, err)
	}
	files := map[string]string{p.data: lineByLine(string(data)), p.document: document}
	if r.Growth != nil {
		files[p.picture] = draw(pictureTitle, growthCaption(r.Growth), charts(r.Growth.Points))
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil { //nolint:gosec // likewise
			return err
		}
	}
	return nil
}

// lineByLine breaks JSON before each run, so that it can be read and compared. A string in JSON has no bare quotes, so
// that what is looked for is never in one.
func lineByLine(data string) string {
	return strings.ReplaceAll(data, `{"work":{"readers"`, "\n"+`{"work":{"readers"`) + "\n"
}
