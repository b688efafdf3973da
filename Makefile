# The commands a person types. Each is a script in tools/ or one CMake preset; CI runs the same.
PRESET ?= release
JOBS ?= $(shell nproc)

.PHONY: help quickstart setup build test style install clean
help:
	@echo "make quickstart   build Moxie, tune a real model on an example, show it before and after"
	@echo "make test         build everything and run the whole test suite"
	@echo "make build        build only (PRESET=release, debug, asan, scalar)"
	@echo "make style        formatting, naming, size and layout checks"
	@echo "make install      install the binary, the library and the CMake package (PREFIX=/usr/local)"
	@echo "make clean        remove build/"

quickstart:
	@tools/quickstart.sh

setup:
	@tools/setup.sh

build: setup
	@tools/build.sh $(PRESET) $(JOBS)

test: build
	@tools/test.sh $(PRESET)

style:
	@tools/check_style.sh

install: build
	@cmake --install build/$(PRESET) $(if $(PREFIX),--prefix $(PREFIX))

clean:
	rm -rf build
