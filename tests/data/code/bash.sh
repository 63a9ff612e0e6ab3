#!/bin/bash
# shuts the tap
shut_tap() {
  echo shut
}

shut_tap
