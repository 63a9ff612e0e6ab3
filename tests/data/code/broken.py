def drain(:
  return 84,500 )) 'euros
