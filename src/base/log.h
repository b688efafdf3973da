#pragma once
// Log lines go to standard error through spdlog's default logger; the edge sets its level.
#include <spdlog/spdlog.h>
